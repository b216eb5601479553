"""The one process that learns: starts a run when enough corrections came or when asked, and proposes what it made.

Knows nothing of HTTP or Ray Serve. All that it decides from is in the store, so its successor goes on where it ended.
Of several on one database one works, and the others stand by: see `lease.py`.
"""

from __future__ import annotations

import math
import os
import shutil
import socket
import sys
import threading
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import structlog
from sqlalchemy.exc import DBAPIError

from align.errors import AlignError, BlobsAway, Conflict, Outdated, TakenOver, TrainingStopped
from align.state import Blobs, Run, Store
from align.state.database import AWAY

from .canary import Canary, propose_new
from .lease import LENGTH_S, Lease
from .locked_name import LockedName
from .logs import configure_logs
from .retention import Retention
from .retirement import Retirement
from .run_trace import RunWatch
from .settings import Settings
from .yielding import watch

if TYPE_CHECKING:
    from .traces import Traces

log = structlog.get_logger()

STOP_S = 10.0
"""How long a stop waits for a run under way to end its step and to save its state."""
REST_S = 60.0
"""How long a run waits for blobs that are away before its second attempt; twice as long before the third, and so on."""


class Aligner:
    def __init__(self, settings: Settings, lease_s: float = LENGTH_S) -> None:
        configure_logs()
        self._settings = settings
        self._store = Store(settings.database_url)
        self._blobs = Blobs(settings.blobs_url, cache=settings.state / "cache")
        self._stop = threading.Event()
        self._retirement = Retirement(self._store, self._blobs, prepare_s=settings.rollout.prepare_s)
        self._retention = Retention(self._store, self._blobs, settings.retention)
        self._canary = Canary(self._store, settings.rollout)
        self._name = LockedName(settings.state / "aligner.lock")
        self.lease = Lease(self._store.leases, "aligner", lease_s, self._name.name)
        self._outlived: list[Run] = []  # broken off by no fault of theirs, which the store doesn't know yet
        self._tidied = 0  # after which taking of the lease
        self._threads: list[threading.Thread] = []
        self._traces = _traces() if settings.traces else None

    def start(self) -> None:
        # however seldom it looks for work: the lease has a length of its own
        self._begin("lease", self.lease.step, most_s=self.lease.renew_s)
        self._begin("aligner", self._work, self._settings.alignment.training.niceness)
        if self._settings.alignment.retire_tainted:
            self._begin("retirement", self._while_held(self._retirement.step))
        self._begin("retention", self._while_held(self._retention.step))
        self._begin("canary", self._while_held(self._canary.step))

    @property
    def is_alive(self) -> bool:
        return bool(self._threads) and all(thread.is_alive() for thread in self._threads)

    def stop(self) -> None:
        """Take no new run; one that is under way saves its state, and the next aligner takes it up."""
        self._stop.set()
        for thread in self._threads:
            thread.join(STOP_S)
        with suppress(*AWAY):  # then it expires
            self.lease.release()
        self._name.close()
        if self._traces is not None:
            self._traces.close()
        if not any(thread.is_alive() for thread in self._threads):
            self._store.close()

    def _work(self) -> None:
        self._remove_left_workspaces()
        while self._outlived:  # before the look at the lease: whoever has it counts this one's attempts, too
            self._store.runs.outlived(self._outlived[-1])
            self._outlived.pop()
        if not self.lease.is_held:
            return
        if self._tidied != (number := self.lease.num_taken):
            self._tidy()
            self._tidied = number
        self.step()

    def _while_held(self, step: Callable[[], None]) -> Callable[[], None]:
        def work() -> None:
            if self.lease.is_held:
                step()

        return work

    def step(self) -> Run | None:
        """For who holds the lease: go on with a run that was left, or do the oldest that is asked for.

        Returns it as it stands afterwards. Nothing is begun while an admitted version waits to be proposed.
        """
        if not self._propose():
            return None
        run = self._take_up() or self._claim()
        if run is None:
            return None
        log.info("run started", run=run.id, trigger=run.trigger, attempt=run.attempts)
        course = RunWatch()
        try:
            self._align(run, course)
        except TakenOver as successor:
            log.warning("run given away", run=run.id, reason=str(successor))
            self._outlived.append(run)
        except AWAY as error:  # it stays under way, to be taken up when the database is back
            log.warning("run broken off", run=run.id, reason=f"the database is away: {error}")
            self._trace(course, run, None)
            is_lost = isinstance(error, DBAPIError) and error.connection_invalidated
            if is_lost or not self._is_writable(run):
                self._outlived.append(run)
            return run
        except BlobsAway as error:  # it stays under way, to be taken up so often as after a death
            log.warning("run broken off", run=run.id, reason=str(error))
            self._trace(course, run, None)
            if run.attempts <= self._settings.alignment.training.max_restarts:
                self._stop.wait(REST_S * run.attempts)
            return run
        ended = self._store.runs.get(run.id)
        log.info("run ended", run=run.id, status=ended.status, adapter=ended.adapter, reason=ended.reason)
        # what a successor goes on with, or has ended, did not end here
        self._trace(course, run, ended if ended.holder == run.holder else None)
        if self.lease.is_held:
            self._propose()
        return ended

    def _is_writable(self, run: Run) -> bool:
        """Whether the database is there after all: what failed may fail each time, and should not be tried for ever."""
        try:
            self._store.runs.update(run)
        except (TakenOver, *AWAY):
            return False
        return True

    def _take_up(self) -> Run | None:
        """The next that broke off, unless it was begun too often: what killed that aligner would kill this one."""
        for run in self._store.runs.under_way():
            if run.attempts <= self._settings.alignment.training.max_restarts:
                return self._store.runs.take_up(run)
            times = f"{run.attempts} times"
            reason = f"it broke off {times}, as when an aligner dies; the log says why. Ask for another run"
            self._store.runs.update(run, status="failed", reason=reason)
            shutil.rmtree(self._workspace(run), ignore_errors=True)
            log.warning("run given up", run=run.id, reason=reason)
        return None

    def _claim(self) -> Run | None:
        """The oldest that is asked for; by their number, if enough corrections came."""
        if self._is_due():
            self._store.runs.request("count")
        return self._store.runs.claim()

    def _workspace(self, run: Run) -> Path:
        return self._settings.state / "runs" / run.id

    def _is_due(self) -> bool:
        new = self._store.corrections.count_after(self._store.runs.learned_up_to())
        return new >= self._settings.alignment.min_corrections

    def _trace(self, course: RunWatch, begun: Run, ended: Run | None) -> None:
        if self._traces is not None:
            self._traces.ended(course.trace(begun, ended))

    def _align(self, run: Run, course: RunWatch) -> None:
        """To its end: admitted, refused, held, or failed with its reason.

        Raises `TakenOver`, `BlobsAway`, and what is in `AWAY`.
        """
        from align.alignment import (
            align,  # brings torch, which an idle aligner and whoever imports this do without
        )

        seen = self._store.corrections.last_sequence()
        try:
            with course.watching():
                align(
                    self._store,
                    self._blobs,
                    run,
                    self._settings.model,
                    self._settings.alignment,
                    self._workspace(run),
                    lambda: self._stop.is_set() or not self.lease.is_held,
                    watch(
                        self._store, self._settings.alignment.yielding, self._settings.rollout.dead_after_s
                    ),
                    self._settings.alignment.auto_promote,
                    course.begin,
                )
            return
        except TrainingStopped as stopped:
            log.info("run stopped", run=run.id, reason=str(stopped))
            self._store.runs.update(run, attempts=0)  # to be told to stop is no failure
            return
        except (TakenOver, BlobsAway, *AWAY):
            raise
        except Outdated as error:
            self._store.runs.request(run.trigger)  # what it was to learn waits no longer for that
            reason = str(error)
        except AlignError as error:
            reason = str(error)
        except (
            Exception
        ) as error:  # a run that dies for good is recorded with its reason, and the aligner lives on
            log.exception("run failed", run=run.id)
            reason = f"{type(error).__name__}: {error}"
        # without a manifest, the corrections that it stumbled over would start the next run at once, and for ever
        manifest = self._store.runs.get(run.id).manifest or {"last_sequence": seen}
        self._store.runs.update(run, status="failed", reason=reason, manifest=manifest)

    def _propose(self) -> bool:
        """Whether no admitted version waits any more: one does while another rollout is under way."""
        if not self._settings.alignment.auto_promote:
            return True
        in_force = self._store.rollouts.in_force()  # before the look: whoever is faster changes it
        version = self._store.proposals.waiting()
        if version is None:
            return True
        rollout = self._settings.rollout
        try:
            propose_new(self._store, version, rollout, rollout.canary.share, in_force)
        except Conflict as conflict:
            log.info("promotion waits", version=version, reason=str(conflict))
            return False
        return True

    def _remove_left_workspaces(self) -> None:
        """An ended run's folder holds words and images that may be erased since; the run may have ended elsewhere."""
        folders = list((self._settings.state / "runs").glob("*"))
        if not folders:
            return
        # asked after the look: another aligner's folder is not there before its run is under way
        kept = {run.id for run in self._store.runs.under_way()}
        for folder in folders:
            if folder.name not in kept:
                with suppress(FileNotFoundError):  # others may be faster
                    shutil.rmtree(folder)

    def _tidy(self) -> None:
        """What whoever worked before has left half done."""
        self._store.erasures.remove_images(self._blobs.remove_image)
        if self._settings.alignment.retire_tainted:
            self._retirement.remove_left_files()

    def _begin(
        self, name: str, step: Callable[[], object], niceness: int = 0, most_s: float = math.inf
    ) -> None:
        pause_s = min(self._settings.alignment.poll_s, most_s)
        thread = threading.Thread(target=self._repeat, args=(step, niceness, pause_s), name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _repeat(self, step: Callable[[], object], niceness: int, pause_s: float) -> None:
        if niceness and sys.platform == "linux":  # elsewhere a thread has no priority of its own
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), niceness)
        while not self._stop.wait(pause_s):
            try:
                step()
            except Exception:  # the outermost loop: a busy database today is no reason to stop learning
                log.exception("aligner step failed")


def _traces() -> Traces:
    from .traces import to_collector

    return to_collector(f"{socket.gethostname()}-aligner-{uuid.uuid4().hex[:8]}")
