"""A pretraining run on disk, so that a stopped run goes on. Knows nothing about what is trained."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from ..checkpoints import read_tensors, restore_training, training_tensors, write_tensors


@dataclass(frozen=True)
class Done:
    """Steps done, and the wall time that they took in all runs."""

    steps: int = 0
    seconds: float = 0.0


def save_checkpoint(
    path: Path, module: torch.nn.Module, optimizer: torch.optim.Optimizer, done: Done
) -> None:
    tensors = training_tensors(module.named_parameters(), optimizer)
    write_tensors(path, tensors, {"steps": str(done.steps), "seconds": str(done.seconds)})


def load_checkpoint(path: Path, module: torch.nn.Module, optimizer: torch.optim.Optimizer) -> Done:
    """How far the run is: at the start where there is no checkpoint yet."""
    if not path.exists():
        return Done()
    tensors, metadata = read_tensors(path)
    restore_training(module.named_parameters(), optimizer, tensors)
    return Done(int(metadata["steps"]), float(metadata["seconds"]))
