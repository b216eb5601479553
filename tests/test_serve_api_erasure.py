"""Deletion over HTTP: what is answered is gone from every file, only its owner may ask, and what follows is told."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fake_engine import FakeEngine
from openai import OpenAI
from records import adapter_row, running
from served import Served, data_url, encoded, error, image_part, listening, serving

TEXT = "A red cup belongs to the neighbour."


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with serving(tmp_path, FakeEngine(answers={"base": TEXT})) as served:
        yield served


def correct(served: Served, response_id: str, **headers: str) -> str:
    body = {"response_id": response_id, "spans": [{"start": 2, "end": 5, "replacement": "blue"}]}
    answer = served.client.post("/v1/feedback", json=body, headers=headers)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def learn_from(served: Served, *corrections: str) -> str:
    run_id = running(served.store)
    served.store.runs.update(
        served.store.runs.get(run_id), manifest={"train": list(corrections), "held_out": [], "general": []}
    )
    return adapter_row(served.store, run_id=run_id).version


def key(served: Served, *scopes: str) -> tuple[str, dict[str, str]]:
    made, secret = served.store.keys.create("someone", list(scopes))
    return made.id, {"Authorization": f"Bearer {secret}"}


def files(served: Served) -> bytes:
    state = served.replica.settings.state
    return b"".join(path.read_bytes() for path in state.rglob("*") if path.is_file())


def test_a_deleted_answer_is_gone_with_its_question_image_and_corrections(served: Served) -> None:
    image = encoded(size=(9, 9))
    content = [image_part(data_url(image)), {"type": "text", "text": "Whose cup is this?"}]
    response_id = served.respond(content, stop="never said")
    correction_id = correct(served, response_id)
    learn_from(served, correction_id)
    marks = [image, b"Whose cup is this?", TEXT.encode(), b"A blue cup", b"never said"]
    assert [mark in files(served) for mark in marks] == [True] * 5

    answer = served.client.delete(f"/v1/chat/completions/{response_id}")
    (waiting,) = [run for run in served.store.runs.recent() if run.status == "requested"]
    assert (answer.status_code, answer.json()) == (
        200,
        {
            "id": response_id,
            "object": "chat.completion.deleted",
            "deleted": True,
            "responses": [response_id],
            "corrections": [correction_id],
            "tainted": ["v0001"],
            "alignment": waiting.id,
        },
    )
    assert [mark in files(served) for mark in marks] == [False] * 5
    late = served.client.post("/v1/feedback", json={"response_id": response_id, "spans": []})
    assert "was deleted" in error(late, 410)["message"]


def test_a_correction_is_deleted_by_both_routes_and_the_answer_stays(served: Served) -> None:
    for path in ("/v1/feedback", "/feedback"):
        response_id = served.respond()
        correction_id = correct(served, response_id)
        answer = served.client.delete(f"{path}/{correction_id}").json()
        assert (answer["object"], answer["responses"]) == ("correction.deleted", [])
        assert (answer["corrections"], answer["tainted"], answer["alignment"]) == ([correction_id], [], None)
        assert served.store.corrections.get(correction_id).status == "erased"
        assert served.store.responses.get(response_id).text == TEXT


def test_a_deletion_can_be_repeated(served: Served) -> None:
    correction_id = correct(served, served.respond())
    learn_from(served, correction_id)
    first, again = (served.client.delete(f"/feedback/{correction_id}").json() for _ in range(2))
    assert first == {**again, "alignment": first["alignment"]}
    assert first["alignment"] is not None


def test_a_key_deletes_what_is_its_own_and_an_admin_anything(served: Served) -> None:
    _, owner = key(served, "chat", "feedback")
    _, other = key(served, "chat", "feedback")
    _, admin = key(served, "admin")
    mine, theirs = (served.respond(headers=headers) for headers in (owner, other))
    correction_id = correct(served, mine, **owner)
    refused = served.client.delete(f"/v1/chat/completions/{theirs}", headers=owner)
    assert error(refused, 403)["message"] == "this response was given to another key"
    refused = served.client.delete(f"/v1/feedback/{correction_id}", headers=other)
    assert error(refused, 403)["message"] == "this correction was made with another key"
    assert served.store.responses.get(theirs).text == TEXT
    assert served.client.delete(f"/v1/feedback/{correction_id}", headers=owner).status_code == 200
    assert served.client.delete(f"/v1/chat/completions/{mine}", headers=owner).status_code == 200
    assert served.client.delete(f"/v1/chat/completions/{theirs}", headers=admin).status_code == 200


def test_all_of_one_source_is_deleted_by_an_admin(served: Served) -> None:
    key_id, owner = key(served, "chat", "feedback")
    _, admin = key(served, "admin")
    mine = [served.respond(headers=owner) for _ in range(2)]
    theirs = served.respond(headers=admin)
    corrections = [correct(served, mine[0], **owner), correct(served, theirs, **admin)]
    answer = served.client.delete(f"/v1/sources/{key_id}", headers=admin).json()
    assert (answer["responses"], answer["corrections"]) == (mine, corrections[:1])
    assert [served.store.responses.get(name).is_erased for name in (*mine, theirs)] == [True, True, False]
    assert served.chat(headers=owner).status_code == 200, "the key itself goes on"


def test_what_one_author_corrected_is_deleted_by_key_and_author(served: Served) -> None:
    responses = [served.respond() for _ in range(2)]
    for response_id, author in zip(responses, ("ada", "eve"), strict=True):
        body = {"response_id": response_id, "corrected_text": TEXT.replace("red", "blue"), "author": author}
        assert served.client.post("/v1/feedback", json=body).status_code == 201
    answer = served.client.delete("/v1/sources/anonymous/eve").json()
    assert (answer["responses"], len(answer["corrections"])) == ([], 1)
    assert [one.author for one in served.store.corrections.page(10)] == ["ada", None]


@pytest.mark.parametrize(
    "path", ["/v1/chat/completions/chatcmpl-9", "/v1/feedback/corr-9", "/v1/sources/key-9"]
)
def test_what_never_was_is_not_found(served: Served, path: str) -> None:
    name = path.rsplit("/", 1)[1]
    assert f"'{name}'" in error(served.client.delete(path), 404)["message"]


def test_openais_own_client_can_delete_an_answer(served: Served) -> None:
    response_id = served.respond()
    with listening(served) as address:
        client: Any = OpenAI(base_url=f"{address}/v1", api_key="none")
        deleted = client.chat.completions.delete(response_id)
        client.close()
    assert (deleted.id, deleted.deleted, deleted.object) == (response_id, True, "chat.completion.deleted")
    assert served.store.responses.get(response_id).is_erased
