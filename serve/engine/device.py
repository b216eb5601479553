"""Where the model runs and how, as its settings say or as the machine suggests."""

from __future__ import annotations

import os
from dataclasses import dataclass

import psutil
import torch

from ..errors import SettingsError
from .config import EngineConfig

SMALL_MODEL = 50_000_000
"""Weights below which several threads of one operation wait for each other longer than they work."""
MAX_CPU_CACHE_BYTES = 4 * 2**30


@dataclass(frozen=True)
class GPU:
    name: str
    free_bytes: int
    total_bytes: int


def has_usable_gpu() -> bool:
    return torch.cuda.is_available()


def chosen_gpu(config: EngineConfig) -> GPU | None:
    """None where the settings or the machine choose a CPU. Raises `SettingsError` for a GPU that torch cannot use."""
    device = torch_device(config)
    if device.type != "cuda":
        return None
    if not has_usable_gpu():
        raise SettingsError(f"{device} is asked for, and torch sees none")
    return GPU(torch.cuda.get_device_name(device), *torch.cuda.mem_get_info(device))


def torch_device(config: EngineConfig) -> torch.device:
    if config.device != "auto":
        return torch.device(config.device)
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def torch_dtype(config: EngineConfig) -> torch.dtype:
    """Half precision is slower than single on most CPUs."""
    if config.dtype != "auto":
        dtype = getattr(torch, config.dtype)
        assert isinstance(dtype, torch.dtype)
        return dtype
    return torch.float32 if torch_device(config).type == "cpu" else torch.bfloat16


def num_threads(config: EngineConfig, num_weights: int, num_cores: int) -> int:
    if config.num_threads is not None:
        return config.num_threads
    return 1 if num_weights < SMALL_MODEL else max(1, num_cores)


def cache_bytes(config: EngineConfig, device: torch.device) -> int:
    """Of keys and values, when the weights are loaded."""
    if config.cache_bytes is not None:
        return config.cache_bytes
    if device.type != "cuda":
        return min(MAX_CPU_CACHE_BYTES, int(config.memory_share * psutil.virtual_memory().available))
    free, total = torch.cuda.mem_get_info(device)
    return max(0, int(free - (1 - config.memory_share) * total))


def cores() -> int:
    """That this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
