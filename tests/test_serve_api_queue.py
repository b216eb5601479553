"""The queue over HTTP: each who looks is given another answer, of those that they may see."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from records import correction, response
from served import Served, error, serving


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    """r1, the oldest, to r4, the newest, of which r3 has a correction."""
    with serving(tmp_path, queue={"claim_s": 60.0}) as served:
        for number in range(1, 5):
            served.store.responses.add(response(f"r{number}", created=float(number)))
        served.store.corrections.add(correction("c1", response_id="r3"))
        yield served


def claim(served: Served, holder: str = "tab", headers: dict[str, str] | None = None, **body: Any) -> Any:
    content = json.dumps({"holder": holder, **body})  # as ASCII: it can spell half a surrogate pair
    headers = {"Content-Type": "application/json", **(headers or {})}
    return served.client.post("/v1/queue/claims", content=content, headers=headers)


def given(answer: Any) -> str | None:
    assert answer.status_code == 200, answer.text
    record = answer.json()["response"]
    return None if record is None else str(record["id"])


def test_the_next_answer_is_given_as_its_record_says_and_held_for_a_while(served: Served) -> None:
    made = claim(served).json()
    assert set(made) == {"object", "response", "holder", "expires", "num_waiting"}
    assert (made["object"], made["holder"], made["num_waiting"]) == ("queue.claim", "tab", 3)
    assert made["response"] == served.client.get("/v1/responses/r4").json()
    assert 55 < made["expires"] - time.time() <= 60


def test_two_who_look_walk_past_each_other(served: Served) -> None:
    assert [given(claim(served, "a")), given(claim(served, "b"))] == ["r4", "r2"]
    assert given(claim(served, "a", after="r4")) == "r1"
    assert given(claim(served, "b", after="r2", direction="previous")) == "r4"
    nothing = claim(served, "b", after="r1")
    assert given(nothing) is None
    assert (nothing.json()["expires"], nothing.json()["num_waiting"]) == (None, 2)
    assert given(claim(served, "a", after="r1", direction="previous")) == "r2"


def test_what_is_corrected_is_given_where_it_is_asked_for(served: Served) -> None:
    assert given(claim(served, corrected=True)) == "r3"
    assert given(claim(served, corrected=None, after="r4")) == "r3"
    assert given(claim(served, created_from=1.5, created_before=4)) == "r2"
    assert given(claim(served, adapter="v0001")) is None


def test_one_very_answer_is_refused_while_somebody_else_looks_at_it(served: Served) -> None:
    assert given(claim(served, "a", response_id="r3")) == "r3"
    refused = error(claim(served, "b", response_id="r3"), 409)
    assert "somebody else is looking at 'r3' now" in refused["message"]
    assert given(claim(served, "a", response_id="r3")) == "r3"
    content = {"response_id": "r3", "spans": []}
    assert served.client.post("/feedback", json=content).status_code == 201  # it locks nothing but the queue
    error(claim(served, "a", response_id="r9"), 404)
    served.store.erasures.response("r2")
    error(claim(served, "a", response_id="r2"), 410)


def test_what_is_given_back_is_there_for_others(served: Served) -> None:
    def release(holder: str) -> Any:
        return served.client.delete("/v1/queue/claims/r4", params={"holder": holder}).json()

    assert given(claim(served, "a")) == "r4"
    assert release("b")["was_held"] is False
    assert given(claim(served, "b")) == "r2"
    assert release("a") == {"object": "queue.release", "response_id": "r4", "holder": "a", "was_held": True}
    assert given(claim(served, "b")) == "r4"
    error(served.client.delete("/v1/queue/claims/r4"), 400)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"holder": ""}, "holder"),
        ({"holder": "x" * 101}, "holder"),
        *(
            ({name: "\ud83d"}, name)
            for name in ("holder", "response_id", "after", "adapter", "model", "user")
        ),
        ({"direction": "up"}, "direction"),
        ({"limit": 3}, "limit"),
        ({"created_from": "now"}, "created_from"),
    ],
)
def test_what_cannot_be_asked_for_is_refused_by_its_name(
    served: Served, body: dict[str, Any], param: str
) -> None:
    assert error(claim(served, **body), 400)["param"] == param


def test_a_key_looks_through_its_own_answers_and_an_admin_through_all(tmp_path: Path) -> None:
    with serving(tmp_path) as served:
        headers = {}
        for number, (name, scope) in enumerate((("ada", "chat"), ("bob", "feedback"), ("boss", "admin"))):
            key, secret = served.store.keys.create(name, [scope])
            headers[name] = {"Authorization": f"Bearer {secret}"}
            served.store.responses.add(response(f"to {name}", key_id=key.id, created=float(number)))
        first = claim(served, headers=headers["ada"])
        assert (given(first), first.json()["num_waiting"]) == ("to ada", 1)
        assert given(claim(served, headers=headers["ada"], after="to ada")) is None
        served.client.delete("/v1/queue/claims/to ada?holder=tab", headers=headers["ada"])
        assert given(claim(served, headers=headers["bob"])) == "to bob"
        assert given(claim(served, headers=headers["boss"], after="to boss")) == "to ada"
        error(claim(served, headers=headers["ada"], response_id="to bob"), 403)
        error(claim(served, headers=headers["ada"], after="to bob"), 403)
        gone = served.client.delete("/v1/queue/claims/to bob?holder=tab", headers=headers["ada"])
        assert gone.json()["was_held"] is False
