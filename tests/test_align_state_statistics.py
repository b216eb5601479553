"""Counts by day, kind and version, of answers that this server gave and nobody erased."""

from __future__ import annotations

from typing import Any

import pytest
from records import correction, response

from align.state import Store
from align.state.statistics import DAY_S, Day, Tally
from align.state.wanted_responses import IMPORTED

pytestmark = pytest.mark.every_database


def span(kind: str) -> dict[str, Any]:
    return {"start": 2, "end": 5, "replacement": "blue", "kind": kind}


@pytest.fixture
def filled(store: Store) -> Store:
    """Days 10 and 12, an import on day 12, and two answers that were erased."""

    def answer(name: str, day: float, **changes: Any) -> None:
        store.responses.add(response(name, created=day * DAY_S, **changes))

    def correct(name: str, of: str, day: float, status: str, *kinds: str) -> None:
        spans = [span(kind) for kind in kinds]
        store.corrections.add(
            correction(name, response_id=of, created=day * DAY_S, status=status, spans=spans)
        )

    answer("a", 10.0)
    answer("b", 10.99999)
    answer("c", 12.0, adapter="v0001")
    answer("d", 12.5, adapter="v0001")
    answer("imported", 12.5, adapter=IMPORTED)
    answer("erased", 12.5)
    answer("erased with the next", 9.5)
    correct("c1", "a", 11.5, "accepted", "object", "object", "number")
    correct("c2", "a", 12.1, "nothing_wrong")
    correct("c3", "b", 12.2, "quarantined", "text")
    correct("c4", "c", 12.3, "accepted", "position")
    correct("c5", "c", 12.4, "accepted", "object")
    correct("c6", "d", 12.5, "rejected", "action")
    correct("c7", "imported", 12.5, "accepted", "attribute")
    correct("c8", "erased", 12.5, "accepted", "attribute")
    correct("c9", "d", 12.6, "nothing_wrong")
    correct("c10", "d", 12.6, "accepted", "attribute")
    store.erasures.response("erased")
    store.erasures.response("erased with the next")
    store.erasures.correction("c10")
    return store


def counts(**changes: int) -> dict[str, int]:
    return {"accepted": 0, "quarantined": 0, "rejected": 0, "nothing_wrong": 0, **changes}


def test_every_day_has_its_answers_and_the_corrections_that_were_sent_on_it(filled: Store) -> None:
    assert filled.statistics.by_day(last=12, num=4) == [
        Day(9, 0, counts()),
        Day(10, 2, counts()),
        Day(11, 0, counts(accepted=1)),
        Day(12, 2, counts(accepted=2, quarantined=1, rejected=1, nothing_wrong=2)),
    ]
    assert filled.statistics.by_day(last=11, num=1) == [Day(11, 0, counts(accepted=1))]


def test_the_kinds_are_those_of_accepted_spans_of_these_days(filled: Store) -> None:
    none = {"object": 0, "attribute": 0, "position": 0, "number": 0, "action": 0, "text": 0, "other": 0}
    assert filled.statistics.kinds(last=12, num=2) == {**none, "object": 3, "number": 1, "position": 1}
    assert filled.statistics.kinds(last=12, num=1) == {**none, "object": 1, "position": 1}
    assert filled.statistics.kinds(last=9, num=9) == none


def test_a_version_s_answers_count_once_however_often_they_were_corrected(filled: Store) -> None:
    assert filled.statistics.by_version() == [Tally("base", 2, 1, 1), Tally("v0001", 2, 1, 1)]


def test_what_expired_still_counts_as_an_answer(filled: Store) -> None:
    filled.responses.add(response("e", created=9.5 * DAY_S))
    before = filled.statistics.by_version(), filled.statistics.by_day(last=12, num=4)
    assert filled.expiry.responses(13 * DAY_S, 10) == 1
    assert filled.responses.get("e").is_erased
    assert (filled.statistics.by_version(), filled.statistics.by_day(last=12, num=4)) == before


def test_of_nothing_there_are_no_versions_and_empty_days(store: Store) -> None:
    assert store.statistics.by_version() == []
    assert store.statistics.by_day(last=3, num=2) == [Day(2, 0, counts()), Day(3, 0, counts())]
