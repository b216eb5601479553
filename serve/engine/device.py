"""Where the model runs and in which precision, as its settings say or as the machine suggests."""

from __future__ import annotations

import torch

from .config import EngineConfig


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
