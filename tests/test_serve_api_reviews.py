"""Reviews over HTTP: an admin sees what waits and why, and settles each once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from records import correction, response
from served import Served, error, serving

from align.state.insertions import Inserted


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with serving(tmp_path) as served:
        for number in range(3):
            served.store.responses.add(response(f"r{number}"))
            held = correction(
                f"c{number}",
                response_id=f"r{number}",
                status="quarantined",
                reason="repeated_insertion",
                questioned=["blue"],
                source="key-1/ada",
                author="ada",
            )
            served.store.corrections.add(held, Inserted("images", frozenset({"blue"})))
        yield served


def test_those_that_wait_are_listed_with_what_was_served_and_why_they_wait(served: Served) -> None:
    waiting = served.client.get("/v1/reviews").json()["data"]
    assert [one["id"] for one in waiting] == ["c0", "c1", "c2"]
    first = waiting[0]
    assert (first["reason"], first["questioned"], first["source"]) == (
        "repeated_insertion",
        ["blue"],
        "key-1/ada",
    )
    assert first["explanation"].startswith("the same words were inserted over several images")
    assert (first["served_text"], first["corrected_text"]) == (
        "A red cup and a fork.",
        "A blue cup and a fork.",
    )


def test_the_list_comes_in_pages(served: Served) -> None:
    page = served.client.get("/v1/reviews", params={"limit": 2}).json()["data"]
    rest = served.client.get("/v1/reviews", params={"after": page[-1]["sequence"]}).json()["data"]
    assert [one["id"] for one in (*page, *rest)] == ["c0", "c1", "c2"]
    assert served.client.get("/v1/reviews", params={"after": 2**63 - 1}).json()["data"] == []
    for name, beyond in (("limit", 0), ("limit", 1001), ("after", -1), ("after", 2**63)):
        assert name in error(served.client.get("/v1/reviews", params={name: beyond}), 400)["message"]


@pytest.mark.parametrize(("decision", "status"), [("release", "accepted"), ("reject", "rejected")])
def test_each_is_settled_once(served: Served, decision: str, status: str) -> None:
    settled = served.client.post("/v1/reviews/c1", json={"decision": decision})
    assert (settled.status_code, settled.json()["status"]) == (200, status)
    stored = served.store.corrections.get("c1")
    assert (stored.status, stored.reviewer) == (status, "anonymous")
    again = served.client.post("/v1/reviews/c1", json={"decision": "release"})
    assert f"c1 is {status}" in error(again, 409)["message"]
    assert [one["id"] for one in served.client.get("/v1/reviews").json()["data"]] == ["c0", "c2"]


def test_an_unknown_correction_or_decision_is_refused(served: Served) -> None:
    error(served.client.post("/v1/reviews/none", json={"decision": "reject"}), 404)
    error(served.client.post("/v1/reviews/c0", json={"decision": "maybe"}), 400)


def test_only_an_admin_may_review(served: Served) -> None:
    _, secret = served.store.keys.create("app", ["chat", "feedback", "authors"])
    headers = {"Authorization": f"Bearer {secret}"}
    error(served.client.get("/v1/reviews", headers=headers), 403)
    error(served.client.post("/v1/reviews/c0", json={"decision": "release"}, headers=headers), 403)
    assert served.store.corrections.get("c0").status == "quarantined"
