"""Adapters to swap between: LoRA with random weights, published like any other; their report says what they are."""

from __future__ import annotations

import copy
import warnings
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from transformers import AutoModelForImageTextToText

from align.adapter import attach_adapter, save_adapter
from align.config import LoraSettings
from align.state import Adapter, Blobs, Store

NUM_VERSIONS = 4
"""With fewer than three, live and previous would be all there are, and a swap would load nothing."""

RANK, SCALE = 8, 0.1
"""Of normal weights in B; large enough that greedy answers differ from the first words on."""


def publish_random(model: str, store: Store, blobs: Blobs, seed: int) -> list[Adapter]:
    """Into a store of the drill's own; never into one that serves people."""
    base = AutoModelForImageTextToText.from_pretrained(model)
    return [_publish(_random(base, seed + number), model, store, blobs) for number in range(NUM_VERSIONS)]


def _random(base: Any, seed: int) -> Any:
    torch.manual_seed(seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # peft asks transformers for what is deprecated there
        adapted = attach_adapter(copy.deepcopy(base), LoraSettings(rank=RANK, alpha=RANK))
    with torch.no_grad():
        for name, weights in adapted.named_parameters():
            if ".lora_B." in name:
                weights.normal_(std=SCALE)
    return adapted


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
