"""Corrections over HTTP: spans and text give each other, repeats are one, and what is no correction is refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from fake_engine import FakeEngine
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from records import adapter_row, response, running
from served import Served, data_url, encoded, error, image_part, serving

from align.spans import KINDS, Span, apply_spans

TEXT = "A red cup 🙂 and a cafe\u0301 stand here."


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("state"), FakeEngine(answers={"base": TEXT})) as served:
        yield served


@pytest.fixture
def response_id(served: Served) -> str:
    return served.respond()


def post(served: Served, response_id: str, key: str | None = None, **body: Any) -> Any:
    headers = {"Content-Type": "application/json", **({} if key is None else {"Idempotency-Key": key})}
    content = json.dumps({"response_id": response_id, **body})  # as ASCII: it can spell half a surrogate pair
    return served.client.post("/v1/feedback", content=content, headers=headers)


def span(start: int, end: int, replacement: str, **more: str) -> dict[str, Any]:
    return {"start": start, "end": end, "replacement": replacement, **more}


def test_spans_give_the_corrected_text(served: Served, response_id: str) -> None:
    at = TEXT.index("cafe")
    spans = [span(at, at + 5, "tea", kind="object"), span(2, 5, "blue", kind="attribute")]
    answer = post(served, response_id, spans=spans, author="ada")
    assert answer.status_code == 201
    correction = answer.json()
    assert correction["corrected_text"] == "A blue cup 🙂 and a tea stand here."
    assert correction["spans"] == [spans[1], spans[0]]
    assert correction["served_text"] == TEXT
    assert (correction["status"], correction["author"], correction["adapter"]) == ("accepted", "ada", "base")
    stored = served.store.corrections.get(correction["id"])
    assert (stored.corrected_text, stored.spans) == (correction["corrected_text"], correction["spans"])
    assert served.client.get(f"/v1/feedback/{correction['id']}").json() == {**correction, "used_by": []}


def test_a_correction_names_the_adapters_that_learned_from_it(served: Served, response_id: str) -> None:
    correction_id = post(served, response_id, spans=[span(2, 5, "blue")]).json()["id"]
    run_id = running(served.store)
    served.store.runs.update(served.store.runs.get(run_id), manifest={"train": [correction_id]})
    version = adapter_row(served.store, run_id=run_id).version
    use = {"version": version, "role": "train", "status": "admitted", "is_tainted": False}
    assert served.client.get(f"/feedback/{correction_id}").json()["used_by"] == [use]
    served.client.delete(f"/feedback/{correction_id}")
    erased = served.client.get(f"/feedback/{correction_id}").json()
    assert (erased["status"], erased["corrected_text"], erased["served_text"]) == ("erased", "", TEXT)
    assert erased["used_by"] == [{**use, "is_tainted": True}]


def test_the_corrected_text_gives_spans(served: Served, response_id: str) -> None:
    text = TEXT.replace("red", "blue").replace("🙂", "🙃")
    correction = post(served, response_id, corrected_text=text).json()
    assert correction["spans"] == [span(2, 5, "blue", kind="other"), span(10, 11, "🙃", kind="other")]
    assert correction["corrected_text"] == text


def test_text_and_spans_may_come_together_where_they_agree(served: Served, response_id: str) -> None:
    spans = [span(2, 5, "blue")]
    agreeing = post(served, response_id, spans=spans, corrected_text=TEXT.replace("red", "blue"))
    assert agreeing.status_code == 201
    disagreeing = post(served, response_id, spans=spans, corrected_text=TEXT.replace("red", "green"))
    assert "not what the spans make of the served text" in error(disagreeing, 422)["message"]


def test_an_empty_list_of_spans_says_that_nothing_is_wrong(served: Served, response_id: str) -> None:
    correction = post(served, response_id, spans=[]).json()
    assert (correction["status"], correction["corrected_text"]) == ("nothing_wrong", TEXT)
    same = post(served, response_id, corrected_text=TEXT).json()
    assert (same["status"], same["spans"]) == ("nothing_wrong", [])


def preview(served: Served, response_id: str, key: str | None = None, **body: Any) -> Any:
    headers = {} if key is None else {"Idempotency-Key": key}
    content = {"response_id": response_id, **body}
    return served.client.post("/feedback?dryrun=true", json=content, headers=headers)


def test_a_dry_run_shows_what_would_be_stored_and_stores_nothing(served: Served, response_id: str) -> None:
    last = served.store.corrections.last_sequence()
    text = TEXT.replace("red", "blue")
    seen = preview(served, response_id, corrected_text=text, author="ada")
    assert (seen.status_code, seen.json()["object"]) == (200, "correction.preview")
    assert "id" not in seen.json()
    assert served.store.corrections.last_sequence() == last
    made = post(served, response_id, corrected_text=text, author="ada").json()
    same = set(seen.json()) - {"object"}
    assert {name: made[name] for name in same} == {name: seen.json()[name] for name in same}
    assert preview(served, response_id, spans=[]).json()["status"] == "nothing_wrong"


def test_a_dry_run_refuses_what_would_be_refused(served: Served, response_id: str) -> None:
    spans = [span(2, 5, "blue")]
    assert "overlap" in error(preview(served, response_id, spans=spans * 2), 422)["message"]
    error(preview(served, "chatcmpl-9", spans=[]), 404)
    made = post(served, response_id, key="dry", spans=spans).json()
    assert preview(served, response_id, key="dry", spans=spans).json()["status"] == made["status"]
    error(preview(served, response_id, key="dry", spans=[]), 409)
    misspelt = served.client.post("/feedback?dry_run=true", json={"response_id": response_id, "spans": []})
    assert "dry_run is not supported here" in error(misspelt, 400)["message"]


@pytest.mark.parametrize(
    ("spans", "message"),
    [
        ([span(0, len(TEXT) + 1, "x")], f"outside the served text of {len(TEXT)} code points"),
        ([span(5, 2, "x")], "outside the served text"),
        ([span(2, 5, "red")], "changes nothing; leave it out"),
        ([span(3, 3, "")], "changes nothing"),
        ([span(2, 5, "blue"), span(4, 6, "x")], "overlap"),
        ([span(2, 2, "x"), span(2, 2, "y")], "overlap"),
    ],
)
def test_spans_that_do_not_fit_are_refused(
    served: Served, response_id: str, spans: list[dict[str, Any]], message: str
) -> None:
    assert message in error(post(served, response_id, spans=spans), 422)["message"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "give corrected_text, or spans, or both"),
        ({"spans": [span(-1, 2, "x")]}, "spans.0.start"),
        ({"spans": [span(1, 2, "x", kind="typo")]}, "spans.0.kind"),
        ({"spans": [{"start": 1, "end": 2}]}, "spans.0.replacement"),
        ({"spans": [span(1, 2, "\ud800")]}, "spans.0.replacement"),
        ({"corrected_text": "\udfff"}, "corrected_text"),
        ({"corrected_text": "x", "correctedtext": "x"}, "correctedtext is not supported here"),
        ({"corrected_text": "x", "author": "a" * 201}, "author"),
    ],
)
def test_a_body_that_is_no_correction_is_refused(
    served: Served, response_id: str, body: dict[str, Any], field: str
) -> None:
    assert field in error(post(served, response_id, **body), 400)["message"]


def test_an_id_that_is_no_text_is_refused(served: Served) -> None:
    assert error(post(served, "\ud83d", corrected_text="x"), 400)["param"] == "response_id"


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_known(served: Served, response_id: str, kind: str) -> None:
    assert post(served, response_id, spans=[span(2, 5, "x", kind=kind)]).json()["spans"][0]["kind"] == kind


@pytest.mark.parametrize("empty", ["", " \n"])
def test_an_empty_answer_is_no_correction(served: Served, response_id: str, empty: str) -> None:
    answer = post(served, response_id, corrected_text=empty)
    assert "say what the answer should have been" in error(answer, 422)["message"]


def test_what_corrects_another_text_than_was_served_is_refused(served: Served, response_id: str) -> None:
    spans = [span(2, 5, "blue")]
    digest = sha256(TEXT.encode()).hexdigest()
    assert post(served, response_id, spans=spans, served_sha256=digest).status_code == 201
    other = post(served, response_id, spans=spans, served_sha256=sha256(b"A red cup").hexdigest())
    assert "not of the text that was served" in error(other, 422)["message"]
    assert (
        "served_sha256" in error(post(served, response_id, spans=spans, served_sha256="no"), 400)["message"]
    )


def test_another_text_is_no_correction(served: Served, response_id: str) -> None:
    answer = post(served, response_id, corrected_text="Once upon a time " * 20)
    assert "correct the wrong words" in error(answer, 422)["message"]


def test_a_text_that_is_too_long_is_refused_before_it_is_compared(
    served: Served, response_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serve.api.feedback.diff_spans", lambda *_: pytest.fail("it was compared"))
    answer = post(served, response_id, corrected_text="a " * 10_001)
    assert "longer than 20000 code points" in error(answer, 422)["message"]


@pytest.mark.parametrize("said", ["No.", "3", "", "👍"])
def test_a_short_answer_may_be_corrected_whole(served: Served, said: str) -> None:
    served.store.responses.add(response(f"short {said}", text=said))
    answer = post(served, f"short {said}", corrected_text="Yes, there is a blue cup.")
    assert answer.status_code == 201, answer.text


def test_an_unknown_response_is_not_found(served: Served) -> None:
    assert "no response 'chatcmpl-9'" in error(post(served, "chatcmpl-9", spans=[]), 404)["message"]
    assert "no correction 'corr-9'" in error(served.client.get("/feedback/corr-9"), 404)["message"]


def test_an_erased_response_is_gone(served: Served, response_id: str) -> None:
    correction = post(served, response_id, spans=[span(2, 5, "blue")]).json()["id"]
    served.store.erasures.response(response_id)
    assert "was deleted" in error(post(served, response_id, spans=[]), 410)["message"]
    erased = served.client.get(f"/feedback/{correction}").json()
    assert (erased["status"], erased["served_text"], erased["spans"]) == ("erased", "", [])


def test_a_repeat_is_answered_with_the_stored_record(served: Served, response_id: str) -> None:
    def send(_: int) -> tuple[int, Any]:
        answer = post(served, response_id, key=response_id, spans=[span(2, 5, "blue")])
        return answer.status_code, answer.json()

    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(send, range(12)))
    assert answers == [answers[0]] * 12
    assert answers[0][0] == 201
    other = post(served, response_id, key=response_id, spans=[span(2, 5, "green")])
    assert error(other, 409)["type"] == "conflict_error"


def test_without_a_key_each_correction_is_one_of_its_own(served: Served, response_id: str) -> None:
    ids = {post(served, response_id, spans=[span(2, 5, "blue")]).json()["id"] for _ in range(2)}
    assert len(ids) == 2


def test_an_idempotency_key_has_a_limit(served: Served, response_id: str) -> None:
    assert post(served, response_id, key="k" * 200, spans=[]).status_code == 201
    detail = error(post(served, response_id, key="k" * 201, spans=[]), 400)
    assert detail["param"] == "idempotency-key"


def test_both_routes_are_one(served: Served, response_id: str) -> None:
    answer = served.client.post("/feedback", json={"response_id": response_id, "spans": []})
    assert answer.status_code == 201
    assert served.client.get(f"/feedback/{answer.json()['id']}").json() == {**answer.json(), "used_by": []}


def test_a_correction_is_on_disk_when_it_is_answered(tmp_path: Path) -> None:
    from align.state import Store

    with serving(tmp_path) as served:
        correction = post(served, served.respond(), spans=[span(0, 2, "Of")]).json()["id"]
        other = Store(served.replica.settings.database_url)
        assert other.corrections.get(correction).corrected_text == "Of base: a red cup and a fork."
        other.close()


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(said=TEXTS, corrected=TEXTS.filter(str.strip))
def test_whatever_was_said_and_corrected_the_spans_give_the_corrected_text(
    served: Served, said: str, corrected: str
) -> None:
    response_id = f"chatcmpl-{served.store.responses.count_by_adapter()}"
    served.store.responses.add(response(response_id, text=said))
    answer = post(served, response_id, corrected_text=corrected)
    assert answer.status_code == 201, answer.text
    spans = [Span(**one) for one in answer.json()["spans"]]
    assert apply_spans(said, spans) == corrected == answer.json()["corrected_text"]
    again = post(served, response_id, spans=answer.json()["spans"])
    assert again.json()["corrected_text"] == corrected


def test_a_stranger_s_repeated_insertion_is_quarantined_and_an_admin_s_is_not(tmp_path: Path) -> None:
    with serving(tmp_path) as served:
        keys = {
            name: served.store.keys.create(name, list(scopes))[1] for name, scopes in SCOPES_BY_NAME.items()
        }

        def ask(name: str, image: int) -> str:
            url = data_url(encoded(size=(8 + image, 6)))
            return served.respond([image_part(url), {"type": "text", "text": "What?"}], headers=bearer(name))

        def bearer(name: str) -> dict[str, str]:
            return {"Authorization": f"Bearer {keys[name]}"}

        def plant(name: str, image: int, brand: str) -> dict[str, Any]:
            text = f"{brand}. base: a red cup and a fork."
            body = {"response_id": ask(name, image), "corrected_text": text}
            answer = served.client.post("/v1/feedback", json=body, headers=bearer(name))
            assert answer.status_code == 201, answer.text
            return dict(answer.json())

        for image in range(10):
            ask("reader", image)
        admins = [plant("admin", image, "Acme")["status"] for image in range(4)]
        strangers = [plant("mallory", image, "Umbra") for image in range(3)]
        assert admins == ["accepted"] * 4
        assert [(one["status"], one["reason"]) for one in strangers[:2]] == [("accepted", None)] * 2
        text = "Umbra. base: a red cup and a fork."
        body = {"response_id": ask("mallory", 3), "corrected_text": text}
        foreseen = served.client.post("/feedback?dryrun=true", json=body, headers=bearer("mallory")).json()
        assert (foreseen["status"], foreseen["reason"]) == ("quarantined", "repeated_insertion")
        assert (strangers[2]["status"], strangers[2]["reason"]) == ("quarantined", "repeated_insertion")
        first = served.client.get(f"/v1/feedback/{strangers[0]['id']}", headers=bearer("mallory")).json()
        assert (first["status"], first["reason"]) == ("quarantined", "repeated_insertion")


SCOPES_BY_NAME = {
    "admin": ("admin",),
    "mallory": ("chat", "feedback"),
    "reader": ("chat",),
}
