"""Replicas whose wall clock is set: what is in force stays so, and what is prepared has the time that it had."""

from __future__ import annotations

import time
from contextlib import closing
from pathlib import Path

import pytest
from fake_engine import FakeEngine
from reconcilers import HASTY, Cluster
from records import adapter_row
from served import wait_until


class SteppedClock:
    """The wall clock of this process, as all that runs in it sees it; that of the database goes on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.offset_s, real = 0.0, time.time
        monkeypatch.setattr(time, "time", lambda: real() + self.offset_s)


@pytest.fixture
def wall_clock(monkeypatch: pytest.MonkeyPatch) -> SteppedClock:
    return SteppedClock(monkeypatch)


def test_a_clock_that_is_set_back_takes_no_version_back_and_keeps_none_away(
    cluster: Cluster, wall_clock: SteppedClock
) -> None:
    adapter_row(cluster.store)
    adapter_row(cluster.store)
    for _ in range(2):
        cluster.add()
    cluster.promote("v0001")
    wall_clock.offset_s = -3600.0
    wait_until(lambda: cluster.store.rollouts.in_force().live == "v0001")
    wait_until(lambda: cluster.live_everywhere("v0001"))
    cluster.promote("v0002")


def test_a_replica_that_starts_after_the_clock_was_set_back_goes_on_with_the_newest(
    cluster: Cluster, wall_clock: SteppedClock
) -> None:
    adapter_row(cluster.store)
    wall_clock.offset_s = 3600.0
    rollout = cluster.store.rollouts.propose("v0001")
    assert cluster.store.rollouts.commit(rollout.generation, 0.0)
    wall_clock.offset_s = 0.0
    assert cluster.store.rollouts.in_force().live == "base", "its moment lies an hour ahead"
    cluster.add()
    wait_until(lambda: cluster.live_everywhere("v0001"))
    assert cluster.store.rollouts.in_force().live == "v0001"


@pytest.mark.parametrize("offset_s", [3600.0, -3600.0])
def test_a_clock_that_is_set_while_one_is_prepared_does_not_end_it(
    cluster: Cluster, wall_clock: SteppedClock, offset_s: float
) -> None:
    adapter_row(cluster.store)
    slow = FakeEngine()
    slow.hold_loads()
    cluster.add(slow)
    assert cluster.propose("v0001")
    wait_until(slow.is_in_load.is_set)
    wall_clock.offset_s = offset_s
    cluster.replicas[0][0].step()
    assert cluster.store.rollouts.newest().status == "preparing"
    slow.go_on()
    wait_until(lambda: cluster.live_everywhere("v0001"))


def test_one_that_cannot_be_prepared_ends_in_time_though_the_clock_was_set_back(
    tmp_path: Path, wall_clock: SteppedClock
) -> None:
    with closing(Cluster(f"sqlite:///{tmp_path}/errata.db", HASTY)) as cluster:
        adapter_row(cluster.store)
        slow = FakeEngine()
        slow.hold_loads()
        cluster.add(slow)
        assert cluster.propose("v0001")
        wall_clock.offset_s = -3600.0
        wait_until(lambda: cluster.store.rollouts.newest().status == "abandoned")
