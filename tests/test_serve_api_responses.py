"""The record of an answer over HTTP: what was asked, answered and found wrong; its owner's and an admin's to read."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from fake_engine import FakeEngine
from records import correction, response
from served import MODEL, Served, data_url, encoded, error, image_part, serving

TEXT = "A red cup stands here."


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with serving(tmp_path, FakeEngine(answers={"base": TEXT})) as served:
        yield served


def get(served: Served, response_id: str, headers: dict[str, str] | None = None) -> Any:
    return served.client.get(f"/v1/responses/{response_id}", headers=headers)


def correct(served: Served, response_id: str, replacement: str) -> dict[str, Any]:
    body = {"response_id": response_id, "spans": [{"start": 2, "end": 5, "replacement": replacement}]}
    return dict(served.client.post("/v1/feedback", json=body).json())


def test_a_record_says_what_was_asked_and_answered_and_with_what(served: Served) -> None:
    image = encoded(size=(9, 9))
    digest = sha256(image).hexdigest()
    parts = [image_part(data_url(image)), {"type": "text", "text": "What?"}, image_part(data_url(image))]
    response_id = served.respond(parts, temperature=0.5, seed=7, max_tokens=9)
    record = get(served, response_id).json()
    stored = served.store.responses.get(response_id)
    shown = {"type": "image", "sha256": digest}
    assert record["messages"] == [
        {"role": "user", "content": [shown, {"type": "text", "text": "What?"}, shown]}
    ]
    assert record["images"] == [digest]
    assert (record["id"], record["object"], record["model"]) == (response_id, "response.record", MODEL)
    assert (record["text"], record["adapter"], record["finish_reason"]) == (TEXT, "base", "stop")
    assert record["num_tokens"] == len(TEXT.split()) + 1  # the fake engine's words, and the end
    assert record["num_prompt_tokens"] == 9  # four an image, and a word
    assert (record["sampling"]["temperature"], record["sampling"]["seed"]) == (0.5, 7)
    assert record["timings"] == stored.timings
    assert (record["created"], record["key_id"]) == (int(stored.created), "anonymous")
    assert record["corrections"] == []


def test_a_record_shows_its_own_corrections_the_newest_first(served: Served) -> None:
    response_id, other = served.respond(), served.respond()
    first, second = correct(served, response_id, "blue"), correct(served, response_id, "green")
    correct(served, other, "black")
    assert get(served, response_id).json()["corrections"] == [second, first]


def test_of_very_many_corrections_a_record_shows_the_newest_hundred(served: Served) -> None:
    served.store.responses.add(response("r1"))
    for number in range(101):
        served.store.corrections.add(correction(f"c{number}"))
    shown = [one["id"] for one in get(served, "r1").json()["corrections"]]
    assert shown == [f"c{number}" for number in range(100, 0, -1)]


def test_a_record_is_its_keys_own_and_an_admins(served: Served) -> None:
    secrets = {}
    for name, scope in (("owner", "chat"), ("asker", "chat"), ("corrector", "feedback"), ("boss", "admin")):
        key, secrets[name] = served.store.keys.create(name, [scope])
        served.store.responses.add(response(f"of {name}", key_id=key.id))

    def status(name: str, response_id: str) -> int:
        return int(get(served, response_id, {"Authorization": f"Bearer {secrets[name]}"}).status_code)

    assert status("owner", "of owner") == 200
    assert status("corrector", "of corrector") == 200
    assert [status("asker", "of owner"), status("corrector", "of owner")] == [403, 403]
    assert status("boss", "of owner") == 200


def test_an_unknown_record_is_not_found_and_a_deleted_one_gone(served: Served) -> None:
    assert "no response 'chatcmpl-9'" in error(get(served, "chatcmpl-9"), 404)["message"]
    response_id = served.respond()
    assert served.client.delete(f"/v1/responses/{response_id}").json()["responses"] == [response_id]
    assert "its record is gone" in error(get(served, response_id), 410)["message"]
