"""A pretraining run on disk, so that a stopped run goes on. Knows nothing about what is trained; no pickle.

A checkpoint is one safetensors file: the weights, the optimizer's moments and, in its metadata, how far it is.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file


@dataclass(frozen=True)
class Done:
    """Steps done, and the wall time that they took in all runs."""

    steps: int = 0
    seconds: float = 0.0


def save_checkpoint(
    path: Path, module: torch.nn.Module, optimizer: torch.optim.Optimizer, done: Done
) -> None:
    """Appears whole: a temporary name, then a rename."""
    tensors: dict[str, torch.Tensor] = {}
    for name, parameter in module.named_parameters():
        tensors[f"weight/{name}"] = parameter.detach().contiguous()
        for key, value in optimizer.state.get(parameter, {}).items():
            tensors[f"{key}/{name}"] = value.detach().contiguous()
    temporary = path.with_suffix(".partial")
    save_file(tensors, temporary, metadata={"steps": str(done.steps), "seconds": str(done.seconds)})
    with temporary.open("rb") as file:
        os.fsync(file.fileno())
    temporary.replace(path)


def load_checkpoint(path: Path, module: torch.nn.Module, optimizer: torch.optim.Optimizer) -> Done:
    """How far the run is: at the start where there is no checkpoint yet."""
    if not path.exists():
        return Done()
    with safe_open(path, framework="pt") as file:
        keys = set(file.keys())
        for name, parameter in module.named_parameters():
            parameter.data.copy_(file.get_tensor(f"weight/{name}"))
            state: dict[str, Any] = {
                key: file.get_tensor(f"{key}/{name}")
                for key in ("step", "exp_avg", "exp_avg_sq")
                if f"{key}/{name}" in keys
            }
            if state:
                optimizer.state[parameter] = state
        metadata = file.metadata()
        return Done(int(metadata["steps"]), float(metadata["seconds"]))
