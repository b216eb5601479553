"""Where an adapter comes from and what it did, and what came of a correction. Only reads; all of it is in the store."""

from __future__ import annotations

from dataclasses import dataclass

from .state import Adapter, Rollout, Run, Store
from .state.manifests import adapters_with_manifests, role_of


@dataclass(frozen=True)
class AdapterStory:
    """Run -> manifest -> adapter -> report -> rollouts -> responses; manifest and report are the run's."""

    adapter: Adapter
    run: Run
    erased: tuple[str, ...]  # items of its manifest that were erased since
    rollouts: tuple[Rollout, ...]  # all that named it, oldest first
    num_responses: int


@dataclass(frozen=True)
class Use:
    """As what an adapter's run has seen an item: `train` taught it, `held_out` and `general` judged it."""

    version: str
    role: str
    status: str
    is_tainted: bool


def adapter_story(store: Store, version: str) -> AdapterStory:
    """Raises `NotFound`."""
    adapter = store.adapters.get(version)
    run = store.runs.get(adapter.run_id)
    return AdapterStory(
        adapter,
        run,
        tuple(store.erasures.among(run.manifest)),
        tuple(store.rollouts.naming(adapter.version)),
        store.responses.count_of_adapter(adapter.version),
    )


def uses_of(store: Store, item: str) -> list[Use]:
    """Which adapters have learned from a correction, or were judged by it or by a response; the newest first."""
    with store.database.read() as connection:
        rows = adapters_with_manifests(connection)
    roles = [(row, role_of(row.manifest, item)) for row in reversed(rows)]
    return [Use(row.version, role, row.status, row.tainted is not None) for row, role in roles if role]
