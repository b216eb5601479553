"""One replica's parts, put together: engine, store, blobs, reconciler and metrics. Knows nothing of HTTP or Ray."""

from __future__ import annotations

import socket
import uuid
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from align.adapter_files import adapter_digest
from align.errors import InvalidAdapter
from align.state import Adapter, Blobs, Store

from .engine.protocol import Engine
from .gaps import Gaps
from .logs import configure_logs
from .metrics import ReplicaMetrics
from .reconciler import Reconciler
from .settings import Settings

if TYPE_CHECKING:
    from .traces import Traces


class Replica:
    def __init__(
        self, settings: Settings, make_engine: Callable[[Settings], Engine], address: str = "127.0.0.1"
    ) -> None:
        """Ready to answer when this returns: what is in force is loaded. Raises `ServeError` where it cannot be.

        The other replicas reach it at `address` for its figures.
        """
        configure_logs()
        self.id = f"{socket.gethostname()}-{uuid.uuid4().hex[:8]}"
        self.settings = settings
        self.gaps = Gaps()
        with ExitStack() as stack:
            self.blobs = Blobs(settings.blobs_url, cache=settings.state / "cache")
            self.store = Store(settings.database_url)
            stack.callback(self.store.close)
            self.engine = make_engine(settings)
            stack.callback(self.engine.close)
            self.metrics = ReplicaMetrics(self.engine, settings.state)
            stack.callback(self.metrics.close)
            url = self.metrics.listen(address)
            self.reconciler = Reconciler(
                self.id,
                url,
                self.engine,
                self.store,
                self._fetch,
                settings.rollout,
                self.gaps.p95,
                self._forget,
            )
            self.reconciler.start()
            stack.callback(self.reconciler.stop)
            self.traces = _traces(self.id) if settings.traces else None
            if self.traces is not None:
                stack.callback(self.traces.close)
            self._parts = stack.pop_all()

    def check_health(self) -> None:
        """Raises `ServeError` where only a new process can help."""
        self.reconciler.check()
        self.engine.check()

    def close(self) -> None:
        self._parts.close()

    def _fetch(self, adapter: Adapter) -> Path:
        """A local folder with the files that were published. Raises `NotFound`, `InvalidAdapter`."""
        folder = self.blobs.fetch_folder(adapter.blob)
        if not _holds(folder, adapter):  # where the store is elsewhere, it is the copy that is damaged
            folder = self.blobs.fetch_folder(adapter.blob, is_anew=True)
            if not _holds(folder, adapter):
                raise InvalidAdapter(
                    f"the files of {adapter.version} are damaged; restore them from a backup"
                )
        return folder

    def _forget(self, adapter: Adapter) -> None:
        """What the aligner retires it removes from the store, and cannot remove here."""
        self.blobs.forget_folder(adapter.blob)


def _holds(folder: Path, adapter: Adapter) -> bool:
    try:
        return adapter_digest(folder) == adapter.digest
    except InvalidAdapter:  # one is missing
        return False


def _traces(replica_id: str) -> Traces:
    from .traces import to_collector

    return to_collector(replica_id)


def transformers_engine(settings: Settings) -> Engine:
    """The engine of `serve.engine` in a process of its own, begun first; torch is imported here and not before."""
    from .engine.host_process import HostProcess

    host = HostProcess()
    from .engine.device import cores
    from .engine.process import EngineProcess

    num_cores = max(1, cores() // settings.num_replicas)  # none would be taken for: all
    return EngineProcess(settings.model, settings.engine, num_cores=num_cores, host=host)
