"""The client looks through answers on the real application: the same holds for plain and for async code."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx2
import openai
import pytest
from errata import Errata, ResponseErased
from fake_engine import FakeEngine
from fake_errata import Session
from served import Served, data_url, encoded, image_part, serving

TEXT = "A red cup and a fork."


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with serving(tmp_path, FakeEngine(answers={"base": TEXT})) as served:
        yield served


@pytest.fixture(params=["sync", "async"])
def session(request: pytest.FixtureRequest, served: Served) -> Iterator[Session]:
    session = Session(request.param, lambda request: forwarded(served, request), max_retries=0)
    yield session
    session.close()


def forwarded(served: Served, request: httpx2.Request) -> httpx2.Response:
    """To the application in this process, without a socket."""
    headers = {
        name: value for name, value in request.headers.items() if name not in ("host", "content-length")
    }
    url = request.url.raw_path.decode()
    answer = served.client.request(request.method, url, content=request.content, headers=headers)
    return httpx2.Response(answer.status_code, content=answer.content, headers=dict(answer.headers))


def three(served: Served) -> list[str]:
    """Answers, the newest first; the oldest one shows a picture."""
    asked = [[image_part(data_url(encoded())), {"type": "text", "text": "0?"}], "1?", "2?"]
    return [served.respond(content, user=f"user-{number}") for number, content in enumerate(asked)][::-1]


def test_answers_are_listed_page_by_page_by_what_is_asked_for(session: Session, served: Served) -> None:
    newest, middle, oldest = three(served)
    found = session.items(session.client.responses.list(limit=2))
    assert [one.id for one in found] == [newest, middle, oldest]
    assert [(one.question, one.text, one.user) for one in found[:1]] == [("2?", TEXT, "user-2")]
    session.do(session.client.feedback.create(middle, spans=[]))
    assert [one.id for one in session.items(session.client.responses.list(corrected=True))] == [middle]
    assert [
        one.id for one in session.items(session.client.responses.list(corrected=False, user="user-0"))
    ] == [oldest]
    assert session.items(session.client.responses.list(adapter="v0001")) == []


def test_a_picture_that_was_asked_about_is_seen_again(session: Session, served: Served) -> None:
    oldest = three(served)[-1]
    (sha256,) = session.do(session.client.responses.get(oldest)).images
    assert session.do(session.client.responses.image(oldest, sha256)) == encoded()
    with pytest.raises(openai.NotFoundError):
        session.do(session.client.responses.image(oldest, "0" * 64))
    session.do(session.client.responses.delete(oldest))
    with pytest.raises(ResponseErased):
        session.do(session.client.responses.image(oldest, sha256))


def test_a_link_lets_one_person_correct_one_answer(session: Session, served: Served) -> None:
    newest = three(served)[0]
    link = session.do(session.client.responses.link(newest))
    assert (link.response_id, link.path) == (newest, f"/#/answer/{newest}?token={link.token}")
    stranger = session.client.with_options(api_key=link.token)
    assert session.do(stranger.responses.get(newest)).text == TEXT
    assert session.do(stranger.feedback.create(newest, corrected_text=TEXT.replace("red", "blue"))).id
    assert link.expires > session.do(session.client.responses.get(newest)).created


def test_each_who_looks_is_given_another_answer_and_gives_it_back(session: Session, served: Served) -> None:
    newest, middle, oldest = three(served)
    first = session.do(session.client.queue.claim("ada"))
    second = session.do(session.client.queue.claim("grace"))
    assert [claim.response.id for claim in (first, second)] == [newest, middle]
    assert (first.holder, first.num_waiting) == ("ada", 3)
    with pytest.raises(openai.ConflictError):
        session.do(session.client.queue.claim("ada", response_id=middle))
    assert session.do(session.client.queue.release(middle, holder="grace")).was_held
    assert not session.do(session.client.queue.release(middle, holder="grace")).was_held
    assert session.do(session.client.queue.claim("ada", after=middle)).response.id == oldest
    assert (
        session.do(session.client.queue.claim("ada", after=oldest, direction="previous")).response.id
        == middle
    )
    assert session.do(session.client.queue.claim("ada", adapter="v0001")).response is None


def test_a_claim_whose_answer_was_lost_is_repeated_and_gives_the_same(
    session: Session, served: Served
) -> None:
    three(served)
    first = session.do(session.client.queue.claim("ada"))
    again = session.do(session.client.queue.claim("ada"))
    assert first.response.id == again.response.id


def test_counts_are_told_with_their_intervals(session: Session, served: Served) -> None:
    newest, middle, _ = three(served)
    session.do(session.client.feedback.create(newest, corrected_text=TEXT.replace("red", "blue")))
    session.do(session.client.feedback.create(middle, spans=[]))
    told = session.do(session.client.statistics(days=2))
    assert [(day.answers, day.accepted, day.nothing_wrong) for day in told.days[-1:]] == [(3, 1, 1)]
    (version,) = told.adapters
    assert (version.version, version.answers, version.corrected, version.nothing_wrong) == ("base", 3, 1, 1)
    assert version.low < version.corrected_per_1000 < version.high
    assert (told.next_run.new_corrections, told.next_run.needed, told.kinds["other"]) == (1, 100, 1)


def test_openai_s_own_responses_are_not_here(served: Served) -> None:
    assert not hasattr(Errata(base_url="http://127.0.0.1:1/v1").responses, "create")
