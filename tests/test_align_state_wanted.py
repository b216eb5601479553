"""Corrections are found by what is asked for, the newest first, in pages that no arrival moves."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from records import correction, response

from align.state import Store
from align.state.wanted import Wanted

pytestmark = pytest.mark.every_database


@pytest.fixture
def filled(store: Store) -> Store:
    """c0 to c5, each unlike the others in something."""
    store.responses.add(response("of base", key_id="key-1"))
    store.responses.add(response("of v0001", key_id="key-2", adapter="v0001"))
    changes: list[dict[str, Any]] = [
        {"response_id": "of base", "created": 10.0},
        {"response_id": "of base", "created": 20.0, "author": "ada"},
        {"response_id": "of base", "created": 30.0, "status": "quarantined", "reason": "link"},
        {"response_id": "of v0001", "created": 40.0, "author": "ada"},
        {"response_id": "of v0001", "created": 50.0, "status": "quarantined", "reason": "burst"},
        {"response_id": "of v0001", "created": 60.0, "status": "nothing_wrong"},
    ]
    for number, change in enumerate(changes):
        store.corrections.add(correction(f"c{number}", **change))
    return store


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (Wanted(), "543210"),
        (Wanted(status="quarantined"), "42"),
        (Wanted(reason="burst"), "4"),
        (Wanted(author="ada"), "31"),
        (Wanted(response_id="of base"), "210"),
        (Wanted(adapter="v0001"), "543"),
        (Wanted(answered_to="key-1"), "210"),
        (Wanted(created_from=30.0), "5432"),
        (Wanted(created_before=30.0), "10"),
        (Wanted(created_from=20.0, created_before=50.0, author="ada"), "31"),
        (Wanted(adapter="v0001", status="accepted"), "3"),
        (Wanted(author="' OR 1=1"), ""),
    ],
)
def test_all_that_is_given_has_to_apply(filled: Store, wanted: Wanted, found: str) -> None:
    pairs = filled.corrections.matching(wanted, limit=10)
    assert [one.id for one, _ in pairs] == [f"c{number}" for number in found]
    assert all(one.response_id == answered.id for one, answered in pairs)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(size=st.integers(1, 4), arrivals=st.lists(st.integers(0, 2), min_size=12, max_size=12))
def test_pages_hold_each_correction_once_whatever_arrives_between_them(
    store: Store, size: int, arrivals: list[int]
) -> None:
    with store.database.write() as connection:
        connection.exec_driver_sql("DELETE FROM corrections")
        connection.exec_driver_sql("DELETE FROM responses")
    store.responses.add(response("r1"))
    for number in range(7):
        store.corrections.add(correction(f"c{number}"))
    seen: list[str] = []
    before: int | None = None
    for turn, number_of_new in enumerate(arrivals):
        page = store.corrections.matching(Wanted(response_id="r1"), size, before)
        if not page:
            break
        seen += [one.id for one, _ in page]
        before = page[-1][0].sequence
        for new in range(number_of_new):
            store.corrections.add(correction(f"late {turn} {new}"))
    assert seen == [f"c{number}" for number in range(6, -1, -1)]
