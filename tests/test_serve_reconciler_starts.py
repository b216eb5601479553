"""What a replica starts with, what it lets go, and when it is no longer fit to answer."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from fake_engine import FakeEngine
from reconcilers import PATIENT, Cluster
from records import adapter_row
from served import wait_until
from sqlalchemy.exc import OperationalError, TimeoutError

import serve.reconciler
from align.errors import InvalidAdapter
from align.state import Store
from align.state.rollouts import Desired
from serve.errors import NotReady, ServeError
from serve.reconciler import Reconciler
from serve.rollout import choose_version


def test_a_new_replica_converges_before_it_is_ready(cluster: Cluster) -> None:
    adapter_row(cluster.store)
    cluster.add()
    cluster.promote("v0001")
    engine = FakeEngine()
    engine.hold_loads()
    late = cluster.make(engine)
    starting = threading.Thread(target=late.start)
    starting.start()
    wait_until(engine.is_in_load.is_set)
    assert not late.is_ready
    engine.go_on()
    starting.join()
    assert late.is_ready
    assert "v0001" in engine.loaded


def test_a_replica_that_starts_before_the_moment_holds_what_is_in_force_and_what_comes(
    cluster: Cluster,
) -> None:
    for _ in range(2):
        adapter_row(cluster.store)
    for version, ahead_s in (("v0001", 0.0), ("v0002", 60.0)):
        generation = cluster.store.rollouts.propose(version).generation
        cluster.store.rollouts.commit(generation, ahead_s)
    reconciler = cluster.add()
    assert set(cluster.engine(0).loaded) == {"v0001", "v0002"}
    assert reconciler.in_force().live == "v0001"


def test_what_is_in_force_is_found_behind_many_abandoned_promotions(cluster: Cluster) -> None:
    adapter_row(cluster.store)
    cluster.store.rollouts.commit(cluster.store.rollouts.propose("v0001").generation, 0.0)
    for _ in range(30):
        cluster.store.rollouts.abandon(cluster.store.rollouts.propose("v0001").generation, "no")
    reconciler = cluster.add()
    assert reconciler.in_force().live == "v0001"


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        (
            "UPDATE adapters SET status = 'retired'",
            "v0001: v0001 is retired; only an admitted adapter may serve",
        ),
        ("DELETE FROM adapters", "v0001: no adapter 'v0001'"),
        ("UPDATE adapters SET blob = 'missing'", "v0001: missing is not in the blob store"),
    ],
)
def test_a_replica_that_cannot_load_what_is_in_force_does_not_start(
    cluster: Cluster, sql: str, message: str
) -> None:
    adapter_row(cluster.store)
    cluster.store.rollouts.commit(cluster.store.rollouts.propose("v0001").generation, 0.0)
    with cluster.store.database.write() as connection:
        connection.exec_driver_sql(sql)
    with pytest.raises(ServeError, match=f"cannot load the adapters in force, {message}"):
        cluster.add()
    assert cluster.store.replicas.alive(3600.0) == [], "nobody should wait for it"


def taint(store: Store, version: str) -> None:
    """As the deletion of a correction does that the version learned from."""
    with store.database.write() as connection:
        connection.exec_driver_sql("UPDATE adapters SET tainted = 1.0 WHERE version = ?", (version,))


def test_a_replica_starts_with_what_is_in_force_though_it_was_tainted_meanwhile(cluster: Cluster) -> None:
    adapter_row(cluster.store)
    cluster.store.rollouts.commit(cluster.store.rollouts.propose("v0001").generation, 0.0)
    taint(cluster.store, "v0001")
    reconciler = cluster.add()
    assert reconciler.is_ready
    assert set(cluster.engine(0).loaded) == {"v0001"}


def test_a_tainted_version_is_let_go_as_soon_as_no_rollout_names_it(cluster: Cluster) -> None:
    for _ in range(2):
        adapter_row(cluster.store)
    cluster.add()
    for version in ("v0001", "v0002"):
        cluster.promote(version)
    taint(cluster.store, "v0001")
    wait_until(lambda: set(cluster.engine(0).loaded) == {"v0002"})
    wait_until(lambda: [one.version for one in cluster.forgotten] == ["v0001"])


def test_a_replica_that_lost_what_is_in_force_says_so_and_loads_it_again(cluster: Cluster) -> None:
    adapter_row(cluster.store)
    reconciler = cluster.add()
    cluster.promote("v0001")
    engine = cluster.engine(0)
    engine.hold_loads()
    engine.unload("v0001")
    assert not reconciler.is_ready
    with pytest.raises(NotReady):
        choose_version(reconciler.in_force(), "r", "m", "m", engine.stats().adapters)
    engine.go_on()
    wait_until(lambda: reconciler.is_ready)


LONGEST_BEHIND_S = PATIENT.prepare_s + PATIENT.dead_after_s


class Clock:
    """The time module as a reconciler sees it: a clock that a test sets forward."""

    def __init__(self) -> None:
        self.ahead_s = 0.0
        self.time = time.time

    def monotonic(self) -> float:
        return time.monotonic() + self.ahead_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(serve.reconciler, "time", clock)
    return clock


@pytest.fixture
def replica(tmp_path: Path, clock: Clock) -> Iterator[tuple[Reconciler, FakeEngine, Store]]:
    """One that holds what is in force, v0001, and is polled by hand."""
    with closing(Cluster(f"sqlite:///{tmp_path}/errata.db", PATIENT)) as cluster:
        adapter_row(cluster.store)
        cluster.store.rollouts.commit(cluster.store.rollouts.propose("v0001").generation, 0.0)
        reconciler = cluster.make(FakeEngine())
        wait_until(lambda: reconciler.step() and reconciler.is_ready)
        yield cluster.replicas[0]


def lose(engine: FakeEngine) -> None:
    """What is in force, for good."""
    engine.load_failures["v0001"] = InvalidAdapter("damaged")
    engine.unload("v0001")


def is_behind(reconciler: Reconciler, after_s: int, clock: Clock) -> bool:
    """Whether it finds itself to be so, polled every five seconds for so long."""
    reconciler._thread.is_alive = lambda: True  # type: ignore[method-assign]  # as far as it can tell
    for _ in range(after_s // 5):
        clock.ahead_s += 5
        reconciler._poll()
    try:
        reconciler.check()
    except ServeError as error:
        return re.match(r"the replica has been behind what is in force for \d+ s", str(error)) is not None
    return False


def test_a_replica_that_stays_behind_asks_for_a_new_process(
    replica: tuple[Reconciler, FakeEngine, Store], clock: Clock
) -> None:
    reconciler, engine, _ = replica
    lose(engine)
    assert not is_behind(reconciler, int(LONGEST_BEHIND_S / 2), clock)
    assert is_behind(reconciler, int(LONGEST_BEHIND_S / 2) + 5, clock)


@pytest.mark.parametrize("kind", [OperationalError, TimeoutError])
def test_a_replica_is_not_behind_because_the_database_is_away(
    replica: tuple[Reconciler, FakeEngine, Store],
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
    kind: type[Exception],
) -> None:
    reconciler, engine, store = replica

    def fail() -> Desired:
        raise (
            OperationalError("SELECT", {}, OSError("away"))
            if kind is OperationalError
            else kind("no connection")
        )

    with monkeypatch.context() as outage:
        outage.setattr(store.rollouts, "desired", fail)
        assert not is_behind(reconciler, int(2 * LONGEST_BEHIND_S), clock)
        lose(engine)
    assert not is_behind(reconciler, int(LONGEST_BEHIND_S / 2), clock), "the outage itself does not count"
    assert is_behind(reconciler, int(LONGEST_BEHIND_S / 2) + 5, clock)


def test_a_replica_whose_reading_of_the_database_has_no_end_asks_for_a_new_process(
    replica: tuple[Reconciler, FakeEngine, Store], clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    reconciler, _, store = replica
    is_reading, is_let_on, desired = threading.Event(), threading.Event(), store.rollouts.desired

    def read_on() -> Desired:
        is_reading.set()
        assert is_let_on.wait(60.0)
        return desired()

    monkeypatch.setattr(store.rollouts, "desired", read_on)
    poll = threading.Thread(target=reconciler._poll)
    poll.start()
    assert is_reading.wait(20.0)
    assert not is_behind(reconciler, 0, clock)
    clock.ahead_s += LONGEST_BEHIND_S + 1
    assert is_behind(reconciler, 0, clock)
    is_let_on.set()
    poll.join()


def test_a_stopped_replica_leaves_the_list_and_is_not_healthy(cluster: Cluster) -> None:
    reconciler = cluster.add()
    assert [replica.id for replica in cluster.store.replicas.alive(3600.0)] == ["replica-0"]
    reconciler.stop()
    assert cluster.store.replicas.alive(3600.0) == []
    with pytest.raises(ServeError, match="thread has ended"):
        reconciler.check()
    cluster.dead.append(reconciler)
