"""Adapters to swap between: LoRA with random weights, published like any other; their report says what they are."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from align.adapter import save_adapter
from align.random_adapters import random_adapters
from align.state import Adapter, Blobs, Store

NUM_VERSIONS = 4
"""With fewer than three, live and previous would be all there are, and a swap would load nothing."""


def publish_random(model: str, store: Store, blobs: Blobs, seed: int) -> list[Adapter]:
    """Into a store of the drill's own; never into one that serves people."""
    adapters = random_adapters(model, range(seed, seed + NUM_VERSIONS))
    return [_publish(adapted, model, store, blobs) for adapted in adapters]


def _publish(adapted: Any, model: str, store: Store, blobs: Blobs) -> Adapter:
    with TemporaryDirectory() as temporary:
        folder = Path(temporary) / "adapter"
        digest = save_adapter(adapted, folder, base=model)
        blobs.put_folder(folder, f"adapters/{digest}")
    store.runs.request("request")
    run = store.runs.claim()
    assert run is not None, "nobody else claims runs of a store that no server uses yet"
    reason = "random weights, made by `errata drill`; no gate has seen them"
    return store.adapters.publish(
        run,
        status="admitted",
        digest=digest,
        blob=f"adapters/{digest}",
        report={"origin": "drill"},
        reason=reason,
    )
