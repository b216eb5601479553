"""The one process that learns: starts a run when enough corrections came or when asked, and proposes what it made.

Knows nothing of HTTP or Ray Serve. All that it decides from is in the store, so its successor goes on where it ended.
"""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable

import structlog

from align.alignment import align
from align.errors import AlignError, Conflict
from align.state import Blobs, Run, Store

from .logs import configure_logs
from .retirement import Retirement
from .settings import Settings

log = structlog.get_logger()


class Aligner:
    def __init__(self, settings: Settings) -> None:
        configure_logs()
        self._settings = settings
        self._store = Store(settings.database_url)
        self._blobs = Blobs(settings.blobs_url, cache=settings.state / "cache")
        self._stop = threading.Event()
        self._retirement = Retirement(self._store, self._blobs, prepare_s=settings.rollout.prepare_s)
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        orphans = self._store.runs.fail_orphans(
            "the aligner was restarted during the run; ask for another one"
        )
        if orphans:
            log.warning("runs were cut off by a restart", number=orphans)
        self._remove_left_workspaces()
        self._begin("aligner", self.step)
        if self._settings.alignment.retire_tainted:
            self._retirement.remove_left_files()
            self._begin("retirement", self._retirement.step)

    @property
    def is_alive(self) -> bool:
        return bool(self._threads) and all(thread.is_alive() for thread in self._threads)

    def stop(self) -> None:
        """Take no new run; one that is under way dies with the process and is marked at the next start."""
        self._stop.set()
        for thread in self._threads:
            if thread.is_alive():
                thread.join(2 * self._settings.alignment.poll_s)
        if not any(thread.is_alive() for thread in self._threads):
            self._store.close()

    def step(self) -> Run | None:
        """Ask for a run if enough came, then do the oldest that is asked for. Returns it as it ended."""
        if self._is_due():
            self._store.runs.request("count")
        run = self._store.runs.claim()
        if run is None:
            return None
        log.info("run started", run=run.id, trigger=run.trigger)
        self._align(run)
        ended = self._store.runs.get(run.id)
        log.info("run ended", run=run.id, status=ended.status, adapter=ended.adapter, reason=ended.reason)
        # as the row says: a run that a successor has given up may not promote what it made in the end
        if ended.status == "admitted" and ended.adapter and self._settings.alignment.auto_promote:
            self._promote(ended.adapter)
        return ended

    def _is_due(self) -> bool:
        manifests = (run.manifest for run in self._store.runs.recent() if run.manifest is not None)
        learned_up_to = next((int(manifest["last_sequence"]) for manifest in manifests), 0)
        return self._store.corrections.count_after(learned_up_to) >= self._settings.alignment.min_corrections

    def _align(self, run: Run) -> None:
        """To its end: admitted, refused, held, or failed with its reason."""
        seen = self._store.corrections.last_sequence()
        try:
            align(
                self._store,
                self._blobs,
                run,
                self._settings.model,
                self._settings.alignment,
                self._settings.state / "runs" / run.id,
            )
            return
        except AlignError as error:
            reason = str(error)
        except (
            Exception
        ) as error:  # a run that dies for good is recorded with its reason, and the aligner lives on
            log.exception("run failed", run=run.id)
            reason = f"{type(error).__name__}: {error}"
        # without a manifest, the corrections that it stumbled over would start the next run at once, and for ever
        manifest = self._store.runs.get(run.id).manifest or {"last_sequence": seen}
        self._store.runs.update(run.id, status="failed", reason=reason, manifest=manifest)

    def _promote(self, version: str) -> None:
        """Propose it once no other rollout is under way; those end in time by themselves."""
        while self._store.adapters.get(version).may_serve:
            try:
                self._store.rollouts.propose(version, prepare_s=self._settings.rollout.prepare_s)
                return
            except Conflict as conflict:
                log.info("promotion waits", version=version, reason=str(conflict))
                if self._stop.wait(self._settings.alignment.poll_s):
                    return

    def _remove_left_workspaces(self) -> None:
        """A killed run's folder holds words and images that may be erased since."""
        for folder in (self._settings.state / "runs").glob("*"):
            shutil.rmtree(folder)

    def _begin(self, name: str, step: Callable[[], object]) -> None:
        thread = threading.Thread(target=self._repeat, args=(step,), name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _repeat(self, step: Callable[[], object]) -> None:
        while not self._stop.wait(self._settings.alignment.poll_s):
            try:
                step()
            except Exception:  # the outermost loop: a busy database today is no reason to stop learning
                log.exception("aligner step failed")
