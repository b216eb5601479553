"""Brings one replica to the desired state: reads the rollout, loads what it lacks, reports, and helps to commit.

Runs in its own thread. All that it needs to know is in the store, so a restarted replica converges by itself.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import structlog

from align.state import Adapter, Replica, Rollout, Store
from align.state.database import AWAY
from align.state.rollouts import BASE, Desired

from .countdown import Countdown, left_s
from .engine.protocol import Engine
from .errors import ServeError
from .loader import Loader
from .rollout import Abandon, Commit, decide
from .rollout_settings import RolloutSettings

log = structlog.get_logger()


@dataclass(frozen=True)
class Reading:
    """The desired state, and when (monotonic) it was asked for."""

    desired: Desired
    at: float


@dataclass(frozen=True)
class FailedReading:
    """Why there is none, and when (monotonic) it was asked for."""

    error: Exception
    at: float


class Reconciler:
    def __init__(
        self,
        replica_id: str,
        url: str,
        engine: Engine,
        store: Store,
        fetch: Callable[[Adapter], Path],
        settings: RolloutSettings,
        gap_p95: Callable[[], float | None] = lambda: None,
        forget: Callable[[Adapter], None] = lambda _: None,
    ) -> None:
        """`gap_p95`: what it reports of the time between two tokens, for who shares the machine; `forget` is called
        for what it holds no longer, and may have to fetch again.
        """
        self.replica_id = replica_id
        self._url = url
        self._engine = engine
        self._store = store
        self._wake = threading.Event()
        self._loader = Loader(engine, store, fetch, on_outcome=self._wake.set)
        self._settings = settings
        self._gap_p95 = gap_p95
        self._forget = forget
        self._reading_lock = threading.Lock()
        self._reading: Reading | None = None
        self._failed: FailedReading | None = None
        self._reported: Replica | None = None
        self._preparing, self._coming = Countdown(), Countdown()
        self._ready_at, self._behind_s = time.monotonic(), 0.0  # seconds behind at the end of the last poll
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="reconciler", daemon=True)

    def start(self) -> None:
        """Converge, then follow. Raises `ServeError` where what is in force cannot be loaded."""
        started = time.monotonic()
        deadline = started + self._settings.prepare_s
        try:
            while self._missing(desired := self.step()):
                versions = [version for rollout in _needed(desired) for version in rollout.versions]
                reason = self._loader.failure(versions, since=started)
                if reason is not None or time.monotonic() > deadline:
                    raise ServeError(
                        f"cannot load the adapters in force, {', '.join(versions)}: "
                        f"{reason or 'it takes too long'}"
                    )
                self._loader.wait(self._settings.poll_s)
        except BaseException:
            self._store.replicas.remove(self.replica_id)  # nobody waits for a replica that never came up
            raise
        self._ready_at = time.monotonic()
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join()
        self._loader.wait(self._settings.dead_after_s)
        self._store.replicas.remove(self.replica_id)

    def certainly_in_force(self) -> Rollout | None:
        """What is in force now; nothing where a switch may have come that the last reading did not see.

        A commit holds from `commit_ahead_s` after it is made. A reading is trusted for a part of that, because a commit
        takes a while to be on disk.
        """
        reading = self._reading
        now, tick = (
            time.time(),
            time.monotonic(),
        )  # in this order: a pause between them makes it doubt, not err
        if reading is None or tick - reading.at > self._settings.trusted_s:
            return None
        return reading.desired.in_force(now)

    def refresh(self) -> None:
        """Read the desired state now; of many requests that want it at once, one reads, or waits in vain, for all."""
        asked = time.monotonic()
        with self._reading_lock:
            if self._reading is not None and self._reading.at >= asked:
                return
            if self._failed is not None and self._failed.at >= asked:
                raise self._failed.error
            at = time.monotonic()
            try:
                self._reading = Reading(self._store.rollouts.desired(), at)
            except Exception as error:
                self._failed = FailedReading(error, at)
                raise
            self._failed = None

    def in_force(self) -> Rollout:
        """By this replica's clock and its last reading, without a look at the database."""
        assert self._reading is not None, "nothing is in force before the first reading"
        return self._reading.desired.in_force(time.time())

    @property
    def is_ready(self) -> bool:
        """Whether it holds what is in force and has read the desired state lately enough to be counted as alive."""
        reading = self._reading
        if reading is None or time.monotonic() - reading.at > self._settings.dead_after_s:
            return False
        return self._holds(self.in_force())

    def check(self) -> None:
        """Raises `ServeError` where only a new process can help."""
        if not self._thread.is_alive():
            raise ServeError("the reconciler's thread has ended")
        behind_s = time.monotonic() - self._ready_at
        if behind_s > self._settings.prepare_s + self._settings.dead_after_s:
            raise ServeError(f"the replica has been behind what is in force for {behind_s:.0f} s")

    def step(self) -> Desired:
        """One poll: read -> count down -> release -> load -> report -> settle."""
        desired = self._count_down(self._read())
        self._release(desired)
        self._load(desired)
        self._report(desired)
        if desired.preparing is not None:
            self._settle(desired.preparing)
        if self.is_ready:
            self._ready_at = time.monotonic()
        return desired

    def _read(self) -> Desired:
        self.refresh()
        assert self._reading is not None
        return self._reading.desired

    def _count_down(self, desired: Desired) -> Desired:
        """From when a moment was first heard of: a clock that is set later neither hurries nor takes back a switch."""
        now, preparing, newest = time.time(), desired.preparing, desired.committed[0]
        if preparing is not None:
            longest_s = preparing.prepare_by - preparing.created
            self._preparing.begin(preparing.generation, left_s(preparing.prepare_by, now, longest_s))
        moment = newest.effective_at or 0.0
        self._coming.begin(newest.generation, left_s(moment, now, self._settings.commit_ahead_s))
        if not self._coming.is_over or moment <= now + self._settings.poll_s:
            return desired
        self._store.rollouts.bring_forward(newest.generation, now)
        log.warning("the clock was set back", generation=newest.generation, seconds=round(moment - now, 3))
        return self._read()

    def _release(self, desired: Desired) -> None:
        """Let go of what nothing names any more; the version before the live one stays, for a rollback."""
        in_force = desired.in_force(time.time())
        kept = {
            version
            for rollout in (*_needed(desired), desired.preparing)
            if rollout
            for version in rollout.versions
        }
        kept.add(desired.previous(in_force))
        for version in self._engine.stats().adapters:
            if version not in kept and version != BASE:
                adapter = self._store.adapters.get(version)
                self._engine.unload(version)
                log.info("adapter released", version=version, replica=self.replica_id)
                self._forget(adapter)

    def _load(self, desired: Desired) -> None:
        missing = self._missing(desired)
        if desired.preparing is not None and not missing and self._failure(desired.preparing) is None:
            missing = self._lacks(desired.preparing)
        lately = time.monotonic() - self._settings.dead_after_s
        # what is in force is tried again and again, but not with every poll
        due = [v for v in missing if self._loader.failure([v], since=lately) is None]
        if due:
            self._loader.load(due)

    def _report(self, desired: Desired) -> None:
        rollouts = [*_needed(desired), *([desired.preparing] if desired.preparing is not None else [])]
        prepared = max((rollout.generation for rollout in rollouts if self._holds(rollout)), default=0)
        failure = None
        if desired.preparing is not None and (reason := self._failure(desired.preparing)) is not None:
            failure = {"generation": desired.preparing.generation, "reason": reason}
        adapters = sorted(self._engine.stats().adapters)
        gap_p95_s = self._gap_p95()
        report = Replica(self.replica_id, time.time(), self._url, prepared, failure, adapters, gap_p95_s)
        if is_news(report, self._reported, self._settings.heartbeat_s):
            self._store.replicas.report(report)
            self._reported = report

    def _settle(self, rollout: Rollout) -> None:
        alive = self._store.replicas.alive(self._settings.dead_after_s)
        decision = decide(rollout, alive, self._preparing.is_over)
        if isinstance(decision, Commit):
            self._store.rollouts.commit(rollout.generation, self._settings.commit_ahead_s)
        elif isinstance(decision, Abandon):
            self._store.rollouts.abandon(rollout.generation, decision.reason)

    def _missing(self, desired: Desired) -> list[str]:
        """What it must load to answer, now and after the next moment."""
        return [version for rollout in _needed(desired) for version in self._lacks(rollout)]

    def _lacks(self, rollout: Rollout) -> list[str]:
        loaded = self._engine.stats().adapters
        return [version for version in rollout.versions if version not in loaded]

    def _holds(self, rollout: Rollout) -> bool:
        return not self._lacks(rollout)

    def _failure(self, rollout: Rollout) -> str | None:
        """Why this rollout cannot be prepared here; what failed before it was heard of is tried again."""
        return self._loader.failure(self._lacks(rollout), since=self._preparing.began)

    def _run(self) -> None:
        while not self._stop.is_set():
            # less where a load has ended: the others wait to hear of it
            self._wake.wait(self._settings.poll_s)
            self._wake.clear()
            self._poll()

    def _poll(self) -> None:
        """A step whose errors are logged: a busy database today is no reason to stop following."""
        try:
            self.step()
        except Exception as error:
            log.exception("poll failed", replica=self.replica_id)
            if isinstance(error, AWAY):  # this time doesn't count: a new process could not even start
                self._ready_at = time.monotonic() - self._behind_s
        self._behind_s = time.monotonic() - self._ready_at


def is_news(report: Replica, last: Replica | None, heartbeat_s: float) -> bool:
    """Whether the others have to hear of it: something changed, or they would soon take it for dead."""
    if last is None or not 0 <= report.heartbeat - last.heartbeat < heartbeat_s:
        return True
    return replace(report, heartbeat=last.heartbeat, gap_p95_s=last.gap_p95_s) != last


def _needed(desired: Desired) -> list[Rollout]:
    """What is in force, and the one committed after it if its moment is still to come."""
    in_force, newest = desired.in_force(time.time()), desired.committed[0]
    return [in_force] if newest == in_force else [in_force, newest]
