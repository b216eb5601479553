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
from reconcilers import Cluster
from records import adapter_row
from served import wait_until
from sqlalchemy.exc import OperationalError, TimeoutError

from align.errors import InvalidAdapter
from align.state import Store
from align.state.rollouts import Desired
from serve.errors import NotReady, ServeError
from serve.reconciler import Reconciler
from serve.rollout import choose_version
from serve.rollout_settings import RolloutSettings


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


BRIEF = RolloutSettings(poll_s=0.02, dead_after_s=0.05, prepare_s=1.0, commit_ahead_s=0.2)
BRIEF_S = BRIEF.prepare_s + BRIEF.dead_after_s


@pytest.fixture
def serving_v0001(tmp_path: Path) -> Iterator[Cluster]:
    """One replica that is soon found to be behind."""
    with closing(Cluster(f"sqlite:///{tmp_path}/errata.db", BRIEF)) as cluster:
        adapter_row(cluster.store)
        cluster.store.rollouts.commit(cluster.store.rollouts.propose("v0001").generation, 0.0)
        cluster.add().check()
        yield cluster


def lose(engine: FakeEngine) -> None:
    """What is in force, for good."""
    engine.load_failures["v0001"] = InvalidAdapter("damaged")
    engine.unload("v0001")


def complaint(reconciler: Reconciler) -> str:
    try:
        reconciler.check()
    except ServeError as error:
        return str(error)
    return ""


def test_a_replica_that_stays_behind_asks_for_a_new_process(serving_v0001: Cluster) -> None:
    reconciler, engine, _ = serving_v0001.replicas[0]
    lose(engine)
    wait_until(lambda: complaint(reconciler))
    assert re.match(r"the replica has been behind what is in force for \d+ s", complaint(reconciler))


@pytest.mark.parametrize(
    "error", [OperationalError("SELECT", {}, OSError("away")), TimeoutError("all connections are in use")]
)
def test_a_replica_is_not_behind_because_the_database_is_away(
    serving_v0001: Cluster, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    reconciler, engine, store = serving_v0001.replicas[0]

    def fail() -> Desired:
        raise error

    with monkeypatch.context() as outage:
        outage.setattr(store.rollouts, "desired", fail)
        end = time.monotonic() + 2 * BRIEF_S
        while time.monotonic() < end:
            assert complaint(reconciler) == ""
            time.sleep(BRIEF.poll_s)
        lose(engine)
    back = time.monotonic()
    wait_until(lambda: complaint(reconciler))
    assert time.monotonic() - back > BRIEF.prepare_s / 2, "the outage itself does not count"


def test_a_replica_whose_reading_of_the_database_has_no_end_asks_for_a_new_process(
    serving_v0001: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    reconciler, _, store = serving_v0001.replicas[0]
    is_let_on, desired = threading.Event(), store.rollouts.desired
    monkeypatch.setattr(store.rollouts, "desired", lambda: is_let_on.wait(20.0) and desired())
    wait_until(lambda: complaint(reconciler))
    is_let_on.set()


def test_a_stopped_replica_leaves_the_list_and_is_not_healthy(cluster: Cluster) -> None:
    reconciler = cluster.add()
    assert [replica.id for replica in cluster.store.replicas.alive(3600.0)] == ["replica-0"]
    reconciler.stop()
    assert cluster.store.replicas.alive(3600.0) == []
    with pytest.raises(ServeError, match="thread has ended"):
        reconciler.check()
    cluster.dead.append(reconciler)
