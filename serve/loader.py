"""Loads adapters into one engine in a thread of its own, so that a slow load silences no heartbeat.

Knows nothing of rollouts: it is told which versions are wanted, one batch at a time.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import structlog

from align.errors import InvalidAdapter
from align.state import Adapter, Store

from .engine.protocol import Engine
from .errors import EngineFull, NotReady

log = structlog.get_logger()


class Loader:
    def __init__(
        self,
        engine: Engine,
        store: Store,
        fetch: Callable[[Adapter], Path],
        on_outcome: Callable[[], None],
    ) -> None:
        """`fetch` gives a local folder with the files; `on_outcome` is called after each load, done or failed."""
        self._on_outcome = on_outcome
        self._engine = engine
        self._store = store
        self._fetch = fetch
        self._thread: threading.Thread | None = None
        self._failures: dict[str, tuple[float, str]] = {}
        self._fetched: dict[str, Path] = {}  # and found whole, while they wait for a slot

    @property
    def is_busy(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def wait(self, timeout_s: float) -> None:
        """Until it has nothing to do, or so long."""
        if self._thread is not None:
            self._thread.join(timeout_s)

    def load(self, versions: Sequence[str]) -> None:
        """Begin to load them; nothing while another load is under way."""
        if not self.is_busy:
            self._thread = threading.Thread(
                target=self._load_all, args=(tuple(versions),), name="loader", daemon=True
            )
            self._thread.start()

    def failure(self, versions: Sequence[str], since: float) -> str | None:
        """Why one of them could not be loaded at its last attempt, if that was after `since` (monotonic)."""
        failures = [self._failures[version] for version in versions if version in self._failures]
        return next((reason for at, reason in failures if at > since), None)

    def _load_all(self, versions: tuple[str, ...]) -> None:
        for version in versions:
            try:
                self._load(version)
                self._on_outcome()
            except (EngineFull, NotReady) as error:
                # a slot is free when its last sequence has ended, and an engine that has ended is replaced
                log.info("adapter cannot be loaded yet", version=version, reason=str(error))
            except Exception as error:  # the thread's outermost loop: a bad file must not end in silence
                log.exception("cannot load adapter", version=version)
                self._failures[version] = (time.monotonic(), str(error) or type(error).__name__)
                self._on_outcome()

    def _load(self, version: str) -> None:
        adapter = self._store.adapters.get(version)
        if adapter.status != "admitted":
            raise InvalidAdapter(f"{version} is {adapter.status}; only an admitted adapter may serve")
        folder = self._fetched.pop(version, None)
        if folder is None or not folder.exists():  # another replica of this machine may have let go of it
            folder = self._fetch(adapter)
        try:
            self._engine.load(version, folder)
        except EngineFull:
            self._fetched[version] = folder
            raise
        self._failures.pop(version, None)
        log.info("adapter loaded", version=version)
