"""Leases: held by one at a time, kept by whoever renews, free again when that one has gone."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from served import wait_until
from sqlalchemy import select, update

from align.state import Store, schema
from align.state.dialects import clock

pytestmark = pytest.mark.every_database

LONG_S = 100.0


def test_a_lease_is_held_by_one_who_may_renew_it(store: Store) -> None:
    assert store.leases.take("aligner", "ada", LONG_S)
    assert not store.leases.take("aligner", "ben", LONG_S)
    assert store.leases.take("aligner", "ada", LONG_S)
    assert store.leases.take("another", "ben", LONG_S), "each name is a lease of its own"


def test_of_many_who_ask_at_once_one_gets_it(store: Store) -> None:
    holders = [f"holder-{number}" for number in range(8)]
    with ThreadPoolExecutor(8) as pool:
        taken = list(pool.map(lambda holder: store.leases.take("aligner", holder, LONG_S), holders))
    assert taken.count(True) == 1
    assert store.leases.take("aligner", holders[taken.index(True)], LONG_S)


def test_a_lease_that_was_given_back_is_free_and_only_its_holder_gives_it_back(store: Store) -> None:
    assert store.leases.take("aligner", "ada", LONG_S)
    store.leases.release("aligner", "ben")
    assert not store.leases.take("aligner", "ben", LONG_S)
    store.leases.release("aligner", "ada")
    assert store.leases.take("aligner", "ben", LONG_S)


def test_a_lease_that_is_not_renewed_expires(store: Store) -> None:
    assert store.leases.take("aligner", "ada", 0.2)
    wait_until(lambda: store.leases.take("aligner", "ben", LONG_S))
    assert not store.leases.take("aligner", "ada", LONG_S)


def test_a_lease_of_a_holder_that_died_before_the_clock_was_set_back_is_free(store: Store) -> None:
    assert store.leases.take("aligner", "ada", 20.0)
    with store.database.write() as connection:
        connection.execute(update(schema.leases).values(expires=schema.leases.c.expires + 3600.0))
    assert store.leases.take("aligner", "ben", 20.0)
    assert not store.leases.take("aligner", "ada", 20.0)


def test_a_lease_lasts_until_its_last_renewal_says(store: Store) -> None:
    assert store.leases.take("aligner", "ada", LONG_S)
    assert store.leases.take("aligner", "ada", 0.0)
    assert store.leases.take("aligner", "ben", LONG_S)


def test_the_database_s_clock_goes_on_within_a_transaction(store: Store) -> None:
    with store.database.read() as connection:
        first = connection.execute(select(clock())).scalar_one()
        time.sleep(0.05)
        assert connection.execute(select(clock())).scalar_one() - first >= 0.04
    assert first == pytest.approx(time.time(), abs=60)


def test_a_lease_that_others_would_take_for_lost_is_not_given(store: Store) -> None:
    with pytest.raises(ValueError, match="would take one of more than 120 s for lost"):
        store.leases.take("aligner", "ada", 121.0)
    assert store.leases.take("aligner", "ben", 120.0)
