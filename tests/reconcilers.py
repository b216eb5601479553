"""Replicas on one store that decide together which version answers, with engines that only say what they hold."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from fake_engine import FakeEngine
from served import wait_until

from align.errors import Conflict, NotFound
from align.state import Adapter, Store
from serve.reconciler import Reconciler
from serve.rollout_settings import RolloutSettings

FAST = RolloutSettings(poll_s=0.02, dead_after_s=0.5, prepare_s=30.0, commit_ahead_s=0.2)
HASTY = FAST.model_copy(update={"prepare_s": 0.2, "dead_after_s": 30.0})
PATIENT = FAST.model_copy(update={"dead_after_s": 10.0})  # takes no pause of a busy machine for a death


@dataclass
class Cluster:
    """Replicas that live in this process, each with an engine and a connection of its own."""

    url: str
    settings: RolloutSettings = FAST
    replicas: list[tuple[Reconciler, FakeEngine, Store]] = field(default_factory=list)
    dead: list[Reconciler] = field(default_factory=list)
    forgotten: list[Adapter] = field(default_factory=list)

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
        reconciler = Reconciler(
            name, "", engine, store, fetch, settings or self.settings, forget=self.forgotten.append
        )
        self.replicas.append((reconciler, engine, store))
        return reconciler

    def count_fetches(self, reconciler: Reconciler) -> list[str]:
        """The versions whose files it asks for from now on."""
        fetched: list[str] = []
        fetch = reconciler._loader._fetch

        def counted(adapter: Adapter) -> Path:
            fetched.append(adapter.version)
            return fetch(adapter)

        reconciler._loader._fetch = counted
        return fetched

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
