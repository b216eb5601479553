"""What a replica reads and writes, how often, and what an error there does."""

from __future__ import annotations

import threading
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from fake_engine import FakeEngine
from reconcilers import FAST, Cluster
from records import adapter_row
from served import wait_until

from align.state import Replica
from serve.reconciler import is_news
from serve.rollout_settings import RolloutSettings


def test_a_replica_with_nothing_new_to_say_writes_only_its_heartbeat(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    reports: list[float] = []
    reconciler = cluster.make(FakeEngine(), FAST.model_copy(update={"dead_after_s": 10.0}))
    report = cluster.replicas[0][2].replicas.report
    monkeypatch.setattr(
        cluster.replicas[0][2].replicas, "report", lambda row: (reports.append(row.heartbeat), report(row))
    )
    for _ in range(20):
        reconciler.step()
    assert len(reports) == 1
    adapter_row(cluster.store)
    cluster.propose("v0001")
    reconciler.step()  # begins to load
    wait_until(lambda: "v0001" in cluster.engine(0).loaded)
    reconciler.step()
    assert len(reports) == 2, "what it holds has changed"


@pytest.mark.parametrize("is_away", [False, True])
def test_of_many_requests_that_want_to_know_what_is_in_force_one_reads_for_all(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, is_away: bool
) -> None:
    reconciler = cluster.make(FakeEngine())
    rollouts = cluster.replicas[0][2].rollouts
    desired, is_let_on = rollouts.desired, threading.Event()
    reads: list[float] = []
    failures: list[Exception] = []

    def read_slowly() -> object:
        reads.append(time.monotonic())
        assert is_let_on.wait(20.0)
        if is_away:
            raise OSError("no word from the server")
        return desired()

    def ask() -> None:
        try:
            reconciler.refresh()
        except OSError as error:
            failures.append(error)

    monkeypatch.setattr(rollouts, "desired", read_slowly)
    askers = [threading.Thread(target=ask) for _ in range(12)]
    for asker in askers:
        asker.start()
    wait_until(lambda: reads)
    time.sleep(0.05)  # the others have asked by now
    is_let_on.set()
    for asker in askers:
        asker.join()
    assert len(failures) == (12 if is_away else 0)
    # one more than the first, which began before the others asked; a few on a machine that is slow to start threads
    assert 2 <= len(reads) <= 4
    monkeypatch.undo()
    reconciler.refresh()
    assert reconciler.certainly_in_force() is not None


def test_a_database_error_in_one_poll_does_not_end_the_following(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapter_row(cluster.store)
    reconciler = cluster.add()
    store = cluster.replicas[0][2]
    failed = threading.Event()
    desired = store.rollouts.desired

    def fail_once() -> object:
        if not failed.is_set():
            failed.set()
            raise OSError("disk I/O error")
        return desired()

    monkeypatch.setattr(store.rollouts, "desired", fail_once)
    wait_until(failed.is_set)
    cluster.promote("v0001")
    assert reconciler.is_ready


def test_a_load_that_has_ended_is_told_before_the_next_poll(tmp_path: Path) -> None:
    lazy = RolloutSettings(poll_s=20.0, dead_after_s=100.0, prepare_s=30.0, commit_ahead_s=80.0)
    with closing(Cluster(f"sqlite:///{tmp_path}/errata.db", lazy)) as cluster:
        adapter_row(cluster.store)
        reconciler = cluster.add()
        cluster.propose("v0001")
        reconciler.step()  # begins to load
        wait_until(lambda: cluster.store.rollouts.newest().status == "committed", timeout_s=10.0)


@pytest.mark.parametrize(("later", "is_news_then"), [(1.9, False), (2.1, True), (-1.0, True)])
def test_a_heartbeat_is_news_in_time_and_after_the_clock_was_set_back(
    later: float, is_news_then: bool
) -> None:
    last = Replica("a", 100.0, "", 3, None, [])
    assert is_news(replace(last, heartbeat=100.0 + later), last, heartbeat_s=2.0) is is_news_then
    assert is_news(replace(last, heartbeat=100.0 + later, prepared=4), last, heartbeat_s=2.0)
