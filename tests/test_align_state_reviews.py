"""Reviews: who settled what, once; what is released is new to the aligner, what is rejected never teaches."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from records import adapter_row, correction, response, running
from sqlalchemy import event

from align.errors import Conflict, NotFound
from align.state import Store
from align.state.insertions import Inserted

pytestmark = pytest.mark.every_database


def add(
    store: Store, name: str, status: str = "quarantined", phrase: str = "acme", **changes: object
) -> None:
    store.responses.add(response(f"r-{name}"))
    sent = correction(name, response_id=f"r-{name}", status=status, **changes)
    store.corrections.add(sent, Inserted("images", frozenset({phrase})))


def trainable(store: Store) -> list[str]:
    return [one.id for one, _ in store.corrections.trainable()]


def test_those_that_wait_are_listed_in_order_of_arrival(store: Store) -> None:
    for number in range(5):
        add(store, f"c{number}", reason="burst")
    add(store, "fine", status="accepted")
    store.reviews.reject("c1", "key-1")
    waiting = store.reviews.waiting(limit=2)
    assert [one.id for one in waiting] == ["c0", "c2"]
    assert [one.id for one in store.reviews.waiting(limit=9, after=waiting[-1].sequence)] == ["c3", "c4"]


def test_those_that_wait_are_counted_by_reason(store: Store) -> None:
    for number, reason in enumerate(("burst", "link", "burst")):
        add(store, f"c{number}", reason=reason)
    add(store, "fine", status="accepted", reason="link")
    assert store.reviews.count_by_reason() == {"burst": 2, "link": 1}


def test_a_released_correction_teaches_and_is_new_whatever_came_meanwhile(store: Store) -> None:
    add(store, "held", reason="burst")
    add(store, "later", status="accepted")
    seen = store.corrections.last_sequence()
    assert (trainable(store), store.corrections.count_after(seen)) == (["later"], 0)
    released = store.reviews.release("held", "key-1")
    assert (released.status, released.reason, released.reviewer) == ("accepted", "burst", "key-1")
    assert released.is_reviewed
    assert (trainable(store), store.corrections.count_after(seen)) == (["held", "later"], 1)
    assert store.corrections.count_after(store.corrections.last_sequence()) == 0


def test_what_arrives_after_a_release_is_new_too(store: Store) -> None:
    add(store, "held")
    store.reviews.release("held", "key-1")
    seen = store.corrections.last_sequence()
    add(store, "next", status="accepted")
    assert store.corrections.count_after(seen) == 1


def test_a_rejected_correction_never_teaches(store: Store) -> None:
    add(store, "held")
    rejected = store.reviews.reject("held", "key-1")
    assert (rejected.status, rejected.reviewer) == ("rejected", "key-1")
    assert trainable(store) == []


def test_what_learned_from_a_rejected_correction_is_tainted_and_a_run_without_it_is_asked_for(
    store: Store,
) -> None:
    """It taught before it was held: the first of a claim that was planted again later."""
    for name in ("planted", "fine"):
        add(store, name, status="accepted")
    for name in ("planted", "fine"):
        run_id = running(store)
        store.runs.update(store.runs.get(run_id), manifest={"train": [name]})
        adapter_row(store, run_id=run_id)
    store.reviews.hold({"acme"}, "repeated_insertion", [])
    assert store.runs.claim() is None, "what is held may still be right"
    store.reviews.reject("planted", "key-1")
    store.reviews.release("fine", "key-1")
    assert [one.tainted is None for one in store.adapters.all()] == [True, False], "the newest first"
    run = store.runs.claim()
    assert run is not None
    assert run.trigger == "review"


def test_what_is_rejected_during_a_run_keeps_its_adapter_from_being_published(store: Store) -> None:
    add(store, "planted")
    run_id = running(store)
    store.runs.update(store.runs.get(run_id), manifest={"train": ["planted"]})
    store.reviews.reject("planted", "key-1")
    with pytest.raises(Conflict, match="planted was rejected during the run; one without it is asked for"):
        adapter_row(store, run_id=run_id)
    assert store.runs.claim() is not None


def test_a_correction_is_reviewed_once(store: Store) -> None:
    add(store, "held")
    add(store, "fine", status="accepted")
    store.reviews.reject("held", "key-1")
    for name, status in (("held", "rejected"), ("fine", "accepted")):
        with pytest.raises(Conflict, match=f"{name} is {status}; only a quarantined correction is reviewed"):
            store.reviews.release(name, "key-2")
    with pytest.raises(NotFound, match="no correction 'none'"):
        store.reviews.reject("none", "key-2")


def test_a_hold_takes_what_nobody_settled(store: Store) -> None:
    add(store, "free", status="accepted")
    add(store, "weaker", reason="burst")
    add(store, "graver", reason="link")
    add(store, "other", status="accepted", phrase="blue")
    add(store, "admin's", status="accepted", reviewed=1.0)
    add(store, "released", reason="burst")
    store.reviews.release("released", "key-1")
    add(store, "corroborated", reason="burst")
    assert store.reviews.corroborate("corroborated")
    assert store.reviews.hold({"acme"}, "repeated_insertion", ["burst"]) == 2
    reasons = {one.id: one.reason for one in store.reviews.waiting(limit=9)}
    assert reasons == {"free": "repeated_insertion", "weaker": "repeated_insertion", "graver": "link"}
    assert store.corrections.get("free").questioned == ["acme"]


def test_a_hold_may_be_of_some_sources(store: Store) -> None:
    add(store, "hers", status="accepted", source="ada")
    add(store, "his", status="accepted", source="bob")
    assert store.reviews.hold({"acme"}, "repeated_insertion", [], {"bob"}) == 1
    assert [one.id for one in store.reviews.waiting(limit=9)] == ["his"]


@pytest.mark.parametrize(
    ("ask", "index"),
    [
        (lambda store: store.reviews.waiting(10, after=1), "corrections_in_quarantine"),
        (lambda store: store.reviews.count_by_reason(), "corrections_in_quarantine"),
        (lambda store: store.corrections.origins(), "corrections_by_response"),
    ],
)
def test_neither_who_waits_nor_what_was_replaced_is_looked_for_among_all(
    store: Store, ask: Callable[[Store], object], index: str
) -> None:
    if store.database.engine.name == "postgresql":
        pytest.skip("PostgreSQL plans by what the table holds, and a few rows it reads through")
    asked: list[tuple[str, tuple[object, ...]]] = []

    def note(
        _connection: object, _cursor: object, statement: str, values: tuple[object, ...], *_: object
    ) -> None:
        asked.append((statement, values))

    event.listen(store.database.engine, "before_cursor_execute", note)
    ask(store)
    event.remove(store.database.engine, "before_cursor_execute", note)
    ((statement, values),) = [one for one in asked if one[0].startswith("SELECT")]
    with store.database.read() as connection:
        plan = [str(row[3]) for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values)]
    assert any(index in step for step in plan), plan
