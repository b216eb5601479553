"""Two or three replicas on one store: they switch together or not at all, whoever fails, dies or joins meanwhile."""

from __future__ import annotations

import threading
import time
from contextlib import closing
from pathlib import Path

from fake_engine import FakeEngine
from reconcilers import FAST, HASTY, PATIENT, Cluster
from records import adapter_row
from served import wait_until

from align.errors import InvalidAdapter
from serve.errors import NotReady
from serve.reconciler import Reconciler
from serve.rollout import choose_version


def test_a_promotion_reaches_all_replicas_and_is_committed_once(cluster: Cluster) -> None:
    adapter_row(cluster.store)
    for _ in range(3):
        cluster.add()
    cluster.promote("v0001")
    newest = cluster.store.rollouts.newest()
    assert (newest.generation, newest.status, newest.live) == (1, "committed", "v0001")
    assert all(engine.loaded == {"v0001": Path("adapters/d")} for _, engine, _ in cluster.replicas)


def test_all_switch_at_one_moment_and_none_before_or_after(cluster: Cluster) -> None:
    cluster.settings = FAST.model_copy(
        update={"commit_ahead_s": 1.0}
    )  # as by default: a busy disk takes its time
    adapter_row(cluster.store)
    for _ in range(3):
        cluster.add()
    answers: list[tuple[float, float, str]] = []
    stop = threading.Event()

    def ask(reconciler: Reconciler, engine: FakeEngine) -> None:
        while not stop.is_set():
            before = time.time()
            while (in_force := reconciler.certainly_in_force()) is None:
                reconciler.refresh()
            version = choose_version(in_force, "r", "m", "m", engine.stats().adapters)
            answers.append((before, time.time(), version))
            stop.wait(0.001)

    askers = [threading.Thread(target=ask, args=replica[:2]) for replica in cluster.replicas]
    for asker in askers:
        asker.start()
    cluster.promote("v0001")
    num_answers = len(answers)
    wait_until(lambda: len(answers) > num_answers + 30)
    stop.set()
    for asker in askers:
        asker.join()
    moment = cluster.store.rollouts.in_force().effective_at
    assert moment is not None
    early = [version for _, after, version in answers if after < moment]
    late = [version for before, _, version in answers if before > moment]
    assert set(early) == {"base"}
    assert set(late) == {"v0001"}
    assert len(early) > 3
    assert len(late) > 3


def test_a_replica_that_could_not_poll_reads_before_it_answers(cluster: Cluster) -> None:
    adapter_row(cluster.store)
    sleepy = cluster.make(FakeEngine())
    sleepy.step()  # polls only when it is told to, and hears nothing of the commit that follows
    cluster.store.rollouts.commit(cluster.store.rollouts.propose("v0001").generation, FAST.commit_ahead_s)
    wait_until(lambda: cluster.store.rollouts.in_force().live == "v0001")
    assert sleepy.in_force().live == "base", "as far as it knows"
    assert sleepy.certainly_in_force() is None, "it must not trust what it read before the commit"
    wait_until(lambda: sleepy.refresh() or sleepy.certainly_in_force())
    assert sleepy.in_force().live == "v0001"


def test_a_load_that_fails_abandons_the_promotion_everywhere(cluster: Cluster) -> None:
    for _ in range(2):
        adapter_row(cluster.store)
    cluster.add()
    cluster.add(FakeEngine(load_failures={"v0002": InvalidAdapter("its rank 64 is above the maximum of 32")}))
    cluster.promote("v0001")
    cluster.propose("v0002")
    wait_until(lambda: cluster.store.rollouts.newest().status == "abandoned")
    reason = cluster.store.rollouts.newest().reason
    assert reason == "replica replica-1 cannot load it: its rank 64 is above the maximum of 32"
    wait_until(lambda: all(set(engine.loaded) == {"v0001"} for _, engine, _ in cluster.replicas))
    assert cluster.live_everywhere("v0001")
    assert all(reconciler.is_ready for reconciler, _, _ in cluster.replicas)


def test_what_failed_once_may_be_proposed_again(cluster: Cluster) -> None:
    adapter_row(cluster.store)
    engine = FakeEngine(load_failures={"v0001": InvalidAdapter("damaged")})
    cluster.add(engine)
    cluster.propose("v0001")
    wait_until(lambda: cluster.store.rollouts.newest().status == "abandoned")
    engine.load_failures.clear()
    cluster.promote("v0001")
    assert cluster.store.rollouts.newest().generation == 2


def test_an_unforeseen_error_while_loading_is_reported_too(cluster: Cluster) -> None:
    adapter_row(cluster.store)
    cluster.add(FakeEngine(load_failures={"v0001": PermissionError(13, "Permission denied")}))
    cluster.propose("v0001")
    wait_until(lambda: cluster.store.rollouts.newest().status == "abandoned")
    assert "Permission denied" in str(cluster.store.rollouts.newest().reason)


def test_missing_files_abandon_the_promotion(cluster: Cluster) -> None:
    adapter_row(cluster.store, blob="missing")
    cluster.add()
    cluster.propose("v0001")
    wait_until(lambda: cluster.store.rollouts.newest().status == "abandoned")
    assert "not in the blob store, or not whole" in str(cluster.store.rollouts.newest().reason)


def test_full_slots_are_waited_for(cluster: Cluster, tmp_path: Path) -> None:
    """And the files are not fetched and compared at each poll meanwhile, while they are there."""
    files = tmp_path / "adapter"
    files.mkdir()
    adapter_row(cluster.store, blob=str(files))
    engine = FakeEngine(num_slots=0)
    fetched = cluster.count_fetches(cluster.make(engine))
    cluster.replicas[0][0].start()
    cluster.propose("v0001")
    for _ in range(3):  # asked again and again
        engine.is_in_load.clear()
        wait_until(engine.is_in_load.is_set)
    assert cluster.store.rollouts.newest().status == "preparing"
    assert fetched == ["v0001"]
    files.rmdir()  # another replica of this machine let go of it
    wait_until(lambda: len(fetched) > 1)
    files.mkdir()
    engine.num_slots = 1
    wait_until(lambda: cluster.live_everywhere("v0001"))


def test_an_engine_that_has_ended_abandons_no_promotion(cluster: Cluster) -> None:
    dying = FakeEngine(load_failures={"v0001": NotReady("the engine's process has ended")})
    for engine in (FakeEngine(), dying):
        cluster.add(engine)
    adapter_row(cluster.store)
    assert cluster.propose("v0001")
    wait_until(dying.is_in_load.is_set)
    dying.is_in_load.clear()
    wait_until(dying.is_in_load.is_set)  # asked again
    dying.load_failures.clear()  # as its successor's
    wait_until(lambda: cluster.live_everywhere("v0001"))


def test_a_slow_load_is_no_death(cluster: Cluster) -> None:
    adapter_row(cluster.store)
    slow = FakeEngine()
    slow.hold_loads()
    for engine in (FakeEngine(), slow):
        cluster.add(engine, PATIENT)
    cluster.propose("v0001")
    wait_until(slow.is_in_load.is_set)

    def heartbeats() -> dict[str, float]:
        return {
            replica.id: replica.heartbeat for replica in cluster.store.replicas.alive(PATIENT.dead_after_s)
        }

    loading = heartbeats()
    # it is heard of after the time for which one that was silent since it began would be waited for
    wait_until(lambda: heartbeats()["replica-1"] > loading["replica-1"] + PATIENT.dead_after_s, 60.0)
    assert cluster.store.rollouts.newest().status == "preparing"
    assert heartbeats().keys() == {"replica-0", "replica-1"}
    assert cluster.live_everywhere("base")
    slow.go_on()
    wait_until(lambda: cluster.live_everywhere("v0001"))


def test_a_load_that_takes_too_long_abandons_the_promotion(tmp_path: Path) -> None:
    with closing(Cluster(f"sqlite:///{tmp_path}/errata.db", HASTY)) as cluster:
        adapter_row(cluster.store)
        slow = FakeEngine()
        slow.hold_loads()
        cluster.add()
        cluster.add(slow)
        cluster.propose("v0001")
        wait_until(lambda: cluster.store.rollouts.newest().status == "abandoned")
        assert cluster.store.rollouts.newest().reason == "not prepared in time by replica-1"
        slow.go_on()
        wait_until(lambda: all(engine.loaded == {} for _, engine, _ in cluster.replicas))
        assert cluster.live_everywhere("base")


def test_a_replica_that_dies_while_it_prepares_is_not_waited_for(cluster: Cluster) -> None:
    adapter_row(cluster.store)
    dying = FakeEngine()
    dying.hold_loads()
    cluster.add()
    doomed = cluster.add(dying)
    cluster.propose("v0001")
    wait_until(dying.is_in_load.is_set)
    cluster.kill(doomed)
    wait_until(lambda: cluster.live_everywhere("v0001"))


def test_a_replica_that_joins_while_one_is_prepared_is_waited_for(cluster: Cluster) -> None:
    adapter_row(cluster.store)
    first, second = FakeEngine(), FakeEngine()
    for engine in (first, second):
        engine.hold_loads()
    cluster.add(first)
    cluster.propose("v0001")
    wait_until(first.is_in_load.is_set)
    cluster.add(second)  # ready at once: it holds the base, which is in force
    first.go_on()
    wait_until(lambda: "v0001" in first.loaded)
    wait_until(second.is_in_load.is_set)
    assert cluster.store.rollouts.newest().status == "preparing"
    second.go_on()
    wait_until(lambda: cluster.live_everywhere("v0001"))


def test_the_version_before_stays_for_a_rollback_and_older_ones_go(cluster: Cluster) -> None:
    for _ in range(4):
        adapter_row(cluster.store)
    cluster.add()
    engine = cluster.engine(0)
    for version, kept in (
        ("v0001", {"v0001"}),
        ("v0002", {"v0001", "v0002"}),
        ("v0003", {"v0002", "v0003"}),
        ("v0004", {"v0003", "v0004"}),
    ):
        cluster.promote(version)
        wait_until(lambda kept=kept: set(engine.loaded) == kept)
    loads, engine.load_failures = (
        engine.loaded["v0003"],
        {"v0003": InvalidAdapter("must not be loaded again")},
    )
    cluster.promote("v0003")
    assert engine.loaded["v0003"] is loads


def test_a_candidate_is_loaded_beside_the_live_version_and_let_go_with_its_share(cluster: Cluster) -> None:
    adapter_row(cluster.store)
    reconciler = cluster.add()
    cluster.store.rollouts.propose("base", "v0001", 0.25)
    wait_until(lambda: reconciler.in_force().candidate == "v0001")
    assert set(cluster.engine(0).loaded) == {"v0001"}
    cluster.promote("base")
    wait_until(lambda: cluster.engine(0).loaded == {})
