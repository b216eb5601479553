"""Who holds the lease: counted by the process's own clock, so that one which is cut off stops before another begins."""

from __future__ import annotations

import pytest
from served import wait_until

from align.state import Store
from serve.lease import Lease

LONG_S = 100.0


def failing(*_: object) -> bool:
    raise OSError("no route to host")


def test_one_holds_it_and_the_next_when_it_is_given_back(store: Store) -> None:
    first, second = Lease(store.leases, "aligner", LONG_S), Lease(store.leases, "aligner", 0.05)
    assert not first.is_held
    first.step()
    second.step()
    assert (first.is_held, second.is_held) == (True, False)
    first.release()
    assert not first.is_held

    def is_taken() -> bool:
        second.step()
        return second.num_taken > 0

    wait_until(is_taken)


def test_it_is_lost_in_time_while_the_database_is_away_and_taken_again_when_it_is_back(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    lease = Lease(store.leases, "aligner", 0.5)
    lease.step()
    assert lease.num_taken == 1
    with monkeypatch.context() as patch:
        patch.setattr(store.leases, "take", failing)
        wait_until(lambda: not lease.is_held)
        with pytest.raises(OSError, match="no route"):
            lease.step()
        assert not lease.is_held

    def is_taken_again() -> bool:
        lease.step()
        return lease.num_taken == 2

    wait_until(is_taken_again)


def test_its_time_counts_from_before_it_was_asked_for(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A slow database may not make a holder believe that it has it for longer than the others do."""
    lease = Lease(store.leases, "aligner", LONG_S)
    times = iter([1000.0, 1000.0 + LONG_S - 1.0])  # before and after the database was asked
    monkeypatch.setattr("serve.lease.time.monotonic", lambda: next(times, 1000.0 + LONG_S))
    lease.step()
    assert not lease.is_held
