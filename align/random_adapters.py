"""Adapters of random weights, which teach nothing: what they answer is not what their base answers, and that is all."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from transformers import AutoModelForImageTextToText

from .adapter import attach_adapter
from .config import LoraSettings

RANK, SCALE = 8, 0.1
"""Of normal weights in B; large enough that greedy answers differ."""


def random_adapters(model: str, seeds: Iterable[int]) -> Iterator[Any]:
    """A PEFT model for each seed, of one base."""
    base = AutoModelForImageTextToText.from_pretrained(model)
    for seed in seeds:
        yield _random(base, seed)


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
