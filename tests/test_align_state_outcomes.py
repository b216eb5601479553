"""How answers turned out, by version: in the order in which it was known, and only of those that can be compared."""

from __future__ import annotations

import pytest
from records import correction, response

from align.state import Failure, Store
from align.state.outcomes import Generations

pytestmark = pytest.mark.every_database

G3 = Generations(3, 3)


def answered(store: Store, name: str, ended: float, **changes: object) -> None:
    """An answer of two seconds."""
    values = {
        "adapter": "v0001",
        "generation": 3,
        "created": ended - 2.0,
        "timings": {"total_s": 2.0},
        **changes,
    }
    store.responses.add(response(name, **values))


def corrected(store: Store, name: str, at: float, status: str = "accepted") -> None:
    store.corrections.add(correction(f"c-{name}-{at}", response_id=name, created=at, status=status))


def outcomes(store: Store, **changes: object) -> list[bool]:
    values = {"until": 1000.0, "settled_s": 50.0, "limit": 100, **changes}
    return store.outcomes.corrected("v0001", G3, **values)  # type: ignore[arg-type]  # as the caller names them


def test_answers_count_as_corrected_in_the_order_of_their_ends(store: Store) -> None:
    answered(store, "second", 200.0)
    answered(store, "first", 100.0)
    answered(store, "third", 150.0, timings={"total_s": 140.0})  # begun before all others ended
    answered(store, "fourth", 400.0)
    corrected(store, "first", 149.0)
    corrected(store, "third", 320.0)
    assert outcomes(store) == [True, False, True, False]
    assert outcomes(store, limit=2) == [True, False]
    assert outcomes(store, limit=2, is_newest=True) == [True, False]
    assert outcomes(store, until=399.0) == [True, False, True]


def test_a_correction_that_comes_too_late_does_not_count(store: Store) -> None:
    for name, at in (("in time", 150.0), ("too late", 150.1)):
        answered(store, name, 100.0)
        corrected(store, name, at)
    assert sorted(outcomes(store)) == [False, True]


@pytest.mark.parametrize("status", ["quarantined", "rejected", "nothing_wrong", "erased"])
def test_only_what_was_accepted_speaks_against_an_answer(store: Store, status: str) -> None:
    answered(store, "r", 100.0)
    corrected(store, "r", 110.0, status)
    assert outcomes(store) == [False]
    corrected(store, "r", 120.0)
    corrected(store, "r", 121.0)
    assert outcomes(store) == [True], "twice is once"


@pytest.mark.parametrize(
    "changes",
    [{"adapter": "v0002"}, {"generation": 2}, {"generation": None}, {"finish_reason": "cancelled"}],
    ids=str,
)
def test_an_answer_that_cannot_be_compared_is_left_out(store: Store, changes: dict[str, object]) -> None:
    answered(store, "r", 100.0, **changes)
    assert outcomes(store) == []


def test_what_is_erased_is_left_out(store: Store) -> None:
    answered(store, "r", 100.0)
    store.erasures.response("r")
    assert outcomes(store) == []


def test_what_expired_counts_as_an_answer_that_nobody_corrected(store: Store) -> None:
    for name in ("corrected", "b", "c", "erased later"):
        answered(store, name, 100.0)
    corrected(store, "corrected", 110.0)
    assert store.expiry.responses(200.0, 10) == 3
    assert sorted(outcomes(store)) == [False, False, False, True]
    store.erasures.response("erased later")
    assert sorted(outcomes(store)) == [False, False, True]


def test_failures_and_answers_stand_in_the_order_of_their_ends(store: Store) -> None:
    answered(store, "a", 100.0)
    answered(store, "b", 300.0, finish_reason="length")
    answered(store, "broken off", 250.0, finish_reason="cancelled")
    for name, at, generation in (
        ("x", 200.0, 3),
        ("y", 400.0, 3),
        ("pinned", 220.0, None),
        ("older", 50.0, 2),
    ):
        store.outcomes.add_failure(Failure(name, at, "v0001", generation, "engine"))
    assert store.outcomes.failed("v0001", G3, until=1000.0, limit=9) == [False, True, False, True]
    assert store.outcomes.failed("v0001", G3, until=300.0, limit=9) == [False, True, False]
    assert store.outcomes.failed("v0001", G3, until=1000.0, limit=2, is_newest=True) == [False, True]
    assert store.outcomes.failed("v0001", Generations(0, 3), until=1000.0, limit=9)[0] is True
    assert store.outcomes.failed("v0002", G3, until=1000.0, limit=9) == []


def test_corrected_answers_are_counted_by_adapter(store: Store) -> None:
    for name, adapter in (("a", "base"), ("b", "base"), ("c", "v0001"), ("d", "v0001")):
        answered(store, name, 100.0, adapter=adapter, generation=None)
    for name in ("a", "b", "b", "c"):
        corrected(store, name, 110.0 if name != "b" else 110.0 + len(store.corrections.page(9)))
    corrected(store, "d", 110.0, "quarantined")
    assert store.outcomes.count_corrected() == {"base": 2, "v0001": 1}
