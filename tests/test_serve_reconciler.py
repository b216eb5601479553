"""Two or three replicas on one store: they switch together or not at all, whoever fails, dies or joins meanwhile."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from fake_engine import FakeEngine
from records import adapter_row

from align.errors import Conflict, InvalidAdapter, NotFound
from align.state import Adapter, Replica, Store
from serve.errors import NotReady, ServeError
from serve.reconciler import Reconciler, is_news
from serve.rollout import choose_version
from serve.rollout_settings import RolloutSettings

FAST = RolloutSettings(poll_s=0.02, dead_after_s=0.5, prepare_s=30.0, commit_ahead_s=0.2)
HASTY = FAST.model_copy(update={"prepare_s": 0.2, "dead_after_s": 30.0})


def wait_until(condition: Callable[[], object], timeout_s: float = 20.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        threading.Event().wait(0.005)


@dataclass
class Cluster:
    """Replicas that live in this process, each with an engine and a connection of its own."""

    url: str
    settings: RolloutSettings = FAST
    replicas: list[tuple[Reconciler, FakeEngine, Store]] = field(default_factory=list)
    dead: list[Reconciler] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.store = Store(self.url)

    def add(self, engine: FakeEngine | None = None, settings: RolloutSettings | None = None) -> Reconciler:
        reconciler = self.make(engine or FakeEngine(), settings)
        reconciler.start()
        return reconciler

    def make(self, engine: FakeEngine, settings: RolloutSettings | None = None) -> Reconciler:
        def fetch(adapter: Adapter) -> Path:
            if adapter.blob == "missing":
                raise NotFound("missing is not in the blob store, or not whole")
            return Path(adapter.blob)

        store = Store(self.url)
        name = f"replica-{len(self.replicas)}"
        reconciler = Reconciler(name, "", engine, store, fetch, settings or self.settings)
        self.replicas.append((reconciler, engine, store))
        return reconciler

    def kill(self, reconciler: Reconciler) -> None:
        """As a process dies: no goodbye, its row stays."""
        reconciler._stop.set()
        self.dead.append(reconciler)

    def engine(self, index: int) -> FakeEngine:
        return self.replicas[index][1]

    def live_everywhere(self, version: str) -> bool:
        alive = [(r, e) for r, e, _ in self.replicas if r not in self.dead]
        return all(r.in_force().live == version and version in ("base", *e.loaded) for r, e in alive)

    def promote(self, version: str) -> None:
        wait_until(lambda: self.propose(version))
        wait_until(lambda: self.live_everywhere(version))

    def propose(self, version: str) -> bool:
        try:
            self.store.rollouts.propose(version, prepare_s=self.settings.prepare_s)
        except Conflict:
            return False
        return True

    def close(self) -> None:
        for _, engine, _ in self.replicas:
            engine.go_on()
        for reconciler, engine, store in self.replicas:
            if reconciler not in self.dead and reconciler._thread.ident is not None:
                reconciler.stop()
            elif reconciler._thread.ident is not None:
                reconciler._thread.join()
            reconciler._loader.wait(20.0)
            engine.close()
            store.close()
        self.store.close()


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    cluster = Cluster(f"sqlite:///{tmp_path}/errata.db")
    yield cluster
    cluster.close()


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


def test_full_slots_are_waited_for(cluster: Cluster) -> None:
    adapter_row(cluster.store)
    engine = FakeEngine(num_slots=0)
    cluster.add(engine)
    cluster.propose("v0001")
    wait_until(engine.is_in_load.is_set)
    engine.is_in_load.clear()
    wait_until(engine.is_in_load.is_set)  # asked again
    assert cluster.store.rollouts.newest().status == "preparing"
    engine.num_slots = 1
    wait_until(lambda: cluster.live_everywhere("v0001"))


def test_a_slow_load_is_no_death(cluster: Cluster) -> None:
    adapter_row(cluster.store)
    slow = FakeEngine()
    slow.hold_loads()
    cluster.add()
    cluster.add(slow)
    cluster.propose("v0001")
    wait_until(slow.is_in_load.is_set)
    prepared = time.time()
    # longer than the time after which a silent replica is not waited for
    wait_until(lambda: time.time() > prepared + 2 * FAST.dead_after_s)
    assert cluster.store.rollouts.newest().status == "preparing"
    assert {replica.id for replica in cluster.store.replicas.alive(0.4)} == {
        "replica-0",
        "replica-1",
    }
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


def test_a_replica_that_stays_behind_asks_for_a_new_process(tmp_path: Path) -> None:
    settings = RolloutSettings(poll_s=0.02, dead_after_s=0.05, prepare_s=1.0, commit_ahead_s=0.2)
    with closing(Cluster(f"sqlite:///{tmp_path}/errata.db", settings)) as cluster:
        adapter_row(cluster.store)
        cluster.store.rollouts.commit(cluster.store.rollouts.propose("v0001").generation, 0.0)
        engine = FakeEngine()
        reconciler = cluster.add(engine)
        reconciler.check()
        engine.load_failures["v0001"] = InvalidAdapter("damaged")
        engine.unload("v0001")

        def complaint() -> str:
            try:
                reconciler.check()
            except ServeError as error:
                return str(error)
            return ""

        wait_until(complaint)
        assert re.match(r"the replica has been behind what is in force for \d+ s", complaint())


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


def test_of_many_requests_that_want_to_know_what_is_in_force_one_reads_for_all(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    reconciler = cluster.make(FakeEngine())
    rollouts = cluster.replicas[0][2].rollouts
    desired, is_let_on = rollouts.desired, threading.Event()
    reads: list[float] = []

    def read_slowly() -> object:
        reads.append(time.monotonic())
        assert is_let_on.wait(20.0)
        return desired()

    monkeypatch.setattr(rollouts, "desired", read_slowly)
    askers = [threading.Thread(target=reconciler.refresh) for _ in range(12)]
    for asker in askers:
        asker.start()
    wait_until(lambda: reads)
    time.sleep(0.05)  # the others have asked by now
    is_let_on.set()
    for asker in askers:
        asker.join()
    # one more than the first, which began before the others asked; a few on a machine that is slow to start threads
    assert 2 <= len(reads) <= 4


@pytest.mark.parametrize(("later", "is_news_then"), [(1.9, False), (2.1, True), (-1.0, True)])
def test_a_heartbeat_is_news_in_time_and_after_the_clock_was_set_back(
    later: float, is_news_then: bool
) -> None:
    last = Replica("a", 100.0, "", 3, None, [])
    assert is_news(replace(last, heartbeat=100.0 + later), last, heartbeat_s=2.0) is is_news_then
    assert is_news(replace(last, heartbeat=100.0 + later, prepared=4), last, heartbeat_s=2.0)


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


def test_a_load_that_has_ended_is_told_before_the_next_poll(tmp_path: Path) -> None:
    lazy = RolloutSettings(poll_s=20.0, dead_after_s=100.0, prepare_s=30.0, commit_ahead_s=80.0)
    with closing(Cluster(f"sqlite:///{tmp_path}/errata.db", lazy)) as cluster:
        adapter_row(cluster.store)
        reconciler = cluster.add()
        cluster.propose("v0001")
        reconciler.step()  # begins to load
        wait_until(lambda: cluster.store.rollouts.newest().status == "committed", timeout_s=10.0)


def test_a_stopped_replica_leaves_the_list_and_is_not_healthy(cluster: Cluster) -> None:
    reconciler = cluster.add()
    assert [replica.id for replica in cluster.store.replicas.alive(3600.0)] == ["replica-0"]
    reconciler.stop()
    assert cluster.store.replicas.alive(3600.0) == []
    with pytest.raises(ServeError, match="thread has ended"):
        reconciler.check()
    cluster.dead.append(reconciler)


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
