"""The server that is drilled: one of the drill's own, or one that runs already on this machine."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from align.scenes import MODEL_PATH
from align.state import Blobs, Store
from align.state.rollouts import BASE
from serve.demo.server import free_port, server
from serve.errors import SettingsError
from serve.settings import Settings

from .plan import Plan
from .versions import publish_random


@dataclass(frozen=True)
class Subject:
    address: str  # without /v1
    api_key: str
    model: str
    folders: Mapping[str, Path | None]
    """The versions to swap between, with the adapters' files; none for the base."""
    store: Store
    state: Path


@contextmanager
def own_server(plan: Plan, settings: Settings | None = None) -> Iterator[Subject]:
    """The embedded model with random adapters, in a folder that is gone afterwards; by `settings` in all else."""
    with tempfile.TemporaryDirectory(prefix="errata-drill-", ignore_cleanup_errors=True) as folder:
        own = {"state": Path(folder), "port": free_port(), "num_replicas": plan.num_replicas}
        settings = (settings or Settings()).model_copy(update=own)
        with closing(Store(settings.database_url)) as store:
            blobs = Blobs(settings.blobs_url, cache=settings.state / "cache")
            adapters = publish_random(settings.model, store, blobs, plan.seed)
            folders = {adapter.version: blobs.fetch_folder(adapter.blob) for adapter in adapters}
            address = f"http://{settings.host}:{settings.port}"
            with server(settings):
                yield Subject(address, "none", settings.model, folders, store, settings.state)


@contextmanager
def running_server(url: str, api_key: str, state: Path, model: str | None) -> Iterator[Subject]:
    """One that serves already, with the admitted versions that it has; the base where they are fewer than three.

    Raises `SettingsError` where there is nothing to swap between.
    """
    settings = Settings(state=state)
    if settings.database_file is None or not settings.database_file.is_file():
        raise SettingsError(f"there is no server's state in {state}; name the folder of the one at {url}")
    with closing(Store(settings.database_url)) as store:
        blobs = Blobs(settings.blobs_url, cache=settings.state / "cache")
        adapters = [adapter for adapter in store.adapters.all() if adapter.may_serve]
        folders: dict[str, Path | None] = {one.version: blobs.fetch_folder(one.blob) for one in adapters[:4]}
        if not folders:
            raise SettingsError(
                "no adapter may serve there, so there is nothing to swap; `errata align` makes one"
            )
        if len(folders) < 3:
            folders[BASE] = None
        yield Subject(url.removesuffix("/v1"), api_key, model or str(MODEL_PATH), folders, store, state)
