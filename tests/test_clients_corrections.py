"""The client corrects, aligns and promotes: the same sentences hold for plain and for async code."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import httpx2
import openai
import pytest
from errata import AlignmentTimeout, Correction, ResponseErased, Span, WordsAmbiguous, WordsNotFound
from fake_errata import RESPONSE_ID, SERVED, FakeErrata, Session


@pytest.fixture
def server() -> FakeErrata:
    return FakeErrata()


@pytest.fixture(params=["sync", "async"])
def session(request: pytest.FixtureRequest, server: FakeErrata) -> Iterator[Session]:
    session = Session(request.param, server, max_retries=0)
    yield session
    session.close()


def test_words_are_corrected_where_they_stand_counted_in_code_points(
    session: Session, server: FakeErrata
) -> None:
    reply = session.do(session.client.ask("What is on the table?"))
    correction = session.do(reply.correct_span("a fork", "a spoon", kind="object", author="ada"))
    start = SERVED.index("a fork")  # after an emoji: one code point, two UTF-16 units, four bytes
    assert json.loads(server.requests[-1].content)["spans"] == [
        {"start": start, "end": start + 6, "replacement": "a spoon", "kind": "object"}
    ]
    assert correction.corrected_text == SERVED.replace("a fork", "a spoon")
    assert correction.spans == [Span(start=start, end=start + 6, replacement="a spoon", kind="object")]
    assert (correction.status, correction.author, correction.adapter) == ("accepted", "ada", "v0001")


def test_the_whole_text_can_be_corrected(session: Session) -> None:
    reply = session.do(session.client.ask("What?"))
    text = SERVED.replace("red", "blue")
    correction = session.do(reply.correct(text))
    assert correction.corrected_text == text
    assert [span.replacement for span in correction.spans] == ["blue", "blue"]


def test_a_reply_that_was_right_is_approved(session: Session, server: FakeErrata) -> None:
    reply = session.do(session.client.ask("What?"))
    assert session.do(reply.approve()).status == "nothing_wrong"
    body = json.loads(server.requests[-1].content)
    assert (body["spans"], body["corrected_text"]) == ([], None)


@pytest.mark.parametrize("wrong", ["a blue cup", "", "red  cup"])
def test_words_that_are_not_in_the_reply_are_refused_before_anything_is_sent(
    session: Session, server: FakeErrata, wrong: str
) -> None:
    reply = session.do(session.client.ask("What?"))
    num_requests = len(server.requests)
    with pytest.raises(WordsNotFound):
        session.do(reply.correct_span(wrong, "x"))
    assert len(server.requests) == num_requests


def test_words_that_stand_there_twice_are_refused(session: Session) -> None:
    reply = session.do(session.client.ask("What?"))
    with pytest.raises(WordsAmbiguous, match="more of the words around it"):
        session.do(reply.correct_span("A red cup", "A blue cup"))


def test_the_record_of_an_answer_shows_its_corrections(session: Session, server: FakeErrata) -> None:
    reply = session.do(session.client.ask("What?"))
    made = session.do(reply.correct_span("on the table", "on the chair"))
    record = session.do(session.client.responses.get(reply.response_id))
    assert server.requests[-1].url.path == f"/v1/responses/{RESPONSE_ID}"
    assert (record.text, record.adapter, record.num_tokens) == (reply.text, reply.adapter, 17)
    assert (record.user, record.metadata) == ("ada", {"page": "3"})
    assert [one.model_dump() for one in record.corrections] == [made.model_dump(exclude={"added_later"})]


def test_corrections_are_listed_page_by_page_as_they_are_needed(session: Session, server: FakeErrata) -> None:
    for number in range(5):
        author = "ada" if number % 2 == 0 else "grace"
        create = session.client.feedback.create
        session.do(create(RESPONSE_ID, spans=[], author=author, idempotency_key=str(number)))
    server.requests.clear()
    found = session.items(session.client.feedback.list(author="ada", limit=2))
    assert [one.id for one in found] == ["corr-4", "corr-2", "corr-0"]
    assert all(isinstance(one, Correction) for one in found)
    asked = [dict(request.url.params) for request in server.requests]
    first = {"author": "ada", "limit": "2"}
    assert asked == [first, {**first, "after": "corr-2"}]


def test_an_export_is_written_as_it_comes_and_there_whole_or_not_at_all(
    session: Session, server: FakeErrata, tmp_path: Path
) -> None:
    file = session.do(session.client.feedback.export(tmp_path / "swift.tar", format="ms-swift"))
    assert file.read_bytes() == b"ms-swift" * 7
    assert server.body is not None
    assert (len(server.body.pieces), server.body.is_closed) == (56, True)
    server.is_cut_off = True
    with pytest.raises(httpx2.ReadError):
        session.do(session.client.feedback.export(tmp_path / "cut.tar"))
    server.failures = [409]
    with pytest.raises(openai.ConflictError):
        session.do(session.client.feedback.export(tmp_path / "none.tar"))
    assert list(tmp_path.iterdir()) == [file]


def test_a_correction_can_be_looked_at_before_it_is_made(session: Session, server: FakeErrata) -> None:
    text = SERVED.replace("table", "chair")
    preview = session.do(session.client.feedback.preview(RESPONSE_ID, corrected_text=text, author="ada"))
    assert (preview.status, preview.author, server.corrections) == ("accepted", "ada", {})
    made = session.do(session.client.feedback.create(RESPONSE_ID, corrected_text=text, author="ada"))
    assert made.spans == preview.spans
    assert [span.replacement for span in preview.spans] == ["chair"]
    with pytest.raises(ValueError, match="give corrected_text or spans"):
        session.do(session.client.feedback.preview(RESPONSE_ID, author="ada"))


def test_a_correction_can_be_made_by_the_response_id_alone_and_read_again(session: Session) -> None:
    spans = [Span(start=2, end=5, replacement="blue", kind="attribute")]
    made = session.do(session.client.feedback.create(RESPONSE_ID, spans=spans, idempotency_key="k"))
    assert made.id == "corr-k"
    story = session.do(session.client.feedback.get("corr-k"))
    assert story.model_dump(exclude={"used_by"}) == made.model_dump()
    (use,) = story.used_by
    assert (use.version, use.role, use.status, use.is_tainted) == ("v0001", "train", "admitted", False)


def test_a_correction_that_says_nothing_is_not_sent(session: Session, server: FakeErrata) -> None:
    with pytest.raises(ValueError, match="corrected_text or spans"):
        session.do(session.client.feedback.create(RESPONSE_ID))
    with pytest.raises(ValueError, match="correction_id is empty"):
        session.do(session.client.feedback.get(""))
    assert server.requests == []


def test_a_retry_keeps_its_idempotency_key_and_the_next_correction_gets_another(
    session: Session, server: FakeErrata
) -> None:
    server.failures = [503]
    patient = session.client.with_options(max_retries=1)
    session.do(patient.feedback.create(RESPONSE_ID, spans=[]))
    session.do(patient.feedback.create(RESPONSE_ID, spans=[]))
    first, again, other = (request.headers["idempotency-key"] for request in server.requests)
    assert first == again != other


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (401, openai.AuthenticationError),
        (403, openai.PermissionDeniedError),
        (404, openai.NotFoundError),
        (409, openai.ConflictError),
        (410, ResponseErased),
        (422, openai.UnprocessableEntityError),
    ],
)
def test_what_the_server_refuses_comes_as_openais_exception(
    session: Session, server: FakeErrata, status: int, error: type[openai.APIStatusError]
) -> None:
    server.failures = [status]
    with pytest.raises(error, match=f"refused with {status}") as caught:
        session.do(session.client.feedback.create(RESPONSE_ID, spans=[]))
    assert caught.value.status_code == status


def test_fields_of_a_newer_server_are_kept(session: Session) -> None:
    correction = session.do(session.client.feedback.create(RESPONSE_ID, spans=[]))
    assert isinstance(correction, Correction)
    assert correction.model_extra is not None
    assert correction.model_extra["added_later"] is True


def test_the_adapters_are_listed_with_the_rollout(session: Session) -> None:
    listed = session.do(session.client.adapters.list())
    assert [adapter.version for adapter in listed.data] == ["v0001"]
    assert (listed.rollout.live, listed.rollout.phase, listed.in_force.live) == ("v0001", "preparing", "base")
    (one,) = listed.data
    assert (one.verdict, one.num_pairs, one.figures["held_out.margin"].low) == ("admitted", 3, 0.2)


def test_a_run_is_cancelled_once(session: Session, server: FakeErrata) -> None:
    cancelled = session.do(session.client.with_options(max_retries=2).alignments.cancel("run-1"))
    assert (cancelled.status, cancelled.is_ended) == ("cancelled", True)
    server.failures = [503]
    with pytest.raises(openai.InternalServerError):
        session.do(session.client.with_options(max_retries=2).alignments.cancel("run-1"))
    assert len(server.requests) == 2


def test_a_version_is_retired(session: Session) -> None:
    assert session.do(session.client.adapters.retire("v0001")).status == "retired"


def test_a_version_tells_its_whole_story(session: Session) -> None:
    story = session.do(session.client.adapters.get("v0001"))
    assert (story.report, story.tainted, story.erased) == ({"verdict": "better"}, None, [])
    assert (story.run.id, story.run.trigger, story.manifest["train"]) == ("run-1", "request", ["corr-1"])
    assert ([rollout.live for rollout in story.rollouts], story.num_responses) == (["v0001"], 7)


def test_a_version_is_promoted_for_all_or_for_a_share_of_requests(session: Session) -> None:
    assert session.do(session.client.adapters.promote("v0001")).live == "v0001"
    rollout = session.do(session.client.adapters.promote("v0001", share=0.1))
    assert (rollout.live, rollout.candidate, rollout.share) == ("base", "v0001", 0.1)


def test_a_version_held_for_review_is_read_about_and_admitted(session: Session) -> None:
    assert session.do(session.client.alignments.report("run-1")) == "<h1>Größer</h1>"
    assert session.do(session.client.adapters.admit("v0001")).status == "admitted"
    comparison = session.do(session.client.adapters.comparison())
    assert (comparison.version.corrected_per_1000, comparison.other.corrected_per_1000) == (500.0, None)


def test_a_rollback_whose_answer_was_lost_is_not_repeated(session: Session, server: FakeErrata) -> None:
    server.failures = [503]
    with pytest.raises(openai.InternalServerError):
        session.do(session.client.with_options(max_retries=5).adapters.rollback())
    assert len(server.requests) == 1
    assert session.do(session.client.adapters.rollback()).live == "base"


def test_an_alignment_is_waited_for_and_its_changes_are_told_once(session: Session) -> None:
    run = session.do(session.client.alignments.create())
    told: list[str] = []
    ended = session.do(
        session.client.alignments.wait(run.id, on_progress=lambda run: told.append(run.status), poll=0)
    )
    assert told == ["requested", "running", "admitted"]
    assert (ended.status, ended.adapter, ended.is_ended) == ("admitted", "v0001", True)
    assert [run.id for run in session.do(session.client.alignments.list())] == ["run-1"]


def test_a_run_that_was_asked_for_is_waited_for_and_shows_how_it_goes(
    session: Session, capsys: pytest.CaptureFixture[str]
) -> None:
    run = session.do(session.client.alignments.create())
    assert (run.id, run.status, run.is_ended) == ("run-1", "requested", False)
    assert session.do(run.wait(progress=True, poll=0)).adapter == "v0001"
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.splitlines() == ["run-1 requested", "run-1 running", "run-1 admitted  v0001"]


def test_an_alignment_that_takes_too_long_is_handed_over_as_it_stands(
    session: Session, server: FakeErrata
) -> None:
    server.statuses = ["running"]
    run = session.do(session.client.alignments.create())
    with pytest.raises(AlignmentTimeout, match="still running and goes on"):
        session.do(run.wait(timeout=0.01, poll=60))
    with pytest.raises(AlignmentTimeout, match="still running and goes on") as caught:
        session.do(session.client.alignments.wait("run-1", timeout=0.01, poll=60))
    assert caught.value.alignment.id == "run-1"


def test_an_id_stays_one_segment_of_the_path(session: Session, server: FakeErrata) -> None:
    with pytest.raises(openai.NotFoundError):
        session.do(session.client.alignments.get("../adapters"))
    assert server.requests[-1].url.raw_path == b"/v1/alignments/..%2Fadapters"
