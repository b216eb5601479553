"""The state of a training run between two steps, on disk: one safetensors file, whole or not there; no pickle.

Knows nothing of what is trained. A checkpoint bears its run's digest, and no other run reads it.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.optim import Optimizer

from .durable import appears_whole
from .workers import Workers

Named = Iterable[tuple[str, Tensor]]


@dataclass(frozen=True)
class Checkpoint:
    """`history` holds the metrics of each of the `step` optimizer steps that are done."""

    step: int
    history: tuple[dict[str, float], ...]
    tensors: Mapping[str, Tensor]


class Checkpoints:
    """Those of one run, in a folder of its own that all workers see; only the newest is kept."""

    def __init__(self, folder: Path, run_digest: str, workers: Workers) -> None:
        self._folder, self._run_digest, self._workers = folder, run_digest, workers

    def save(self, checkpoint: Checkpoint) -> None:
        """Rank 0 writes; the others hold the same."""
        if self._workers.rank != 0:
            return
        path = self._path(checkpoint.step)
        history = json.dumps(checkpoint.history)
        write_tensors(path, checkpoint.tensors, {"run": self._run_digest, "history": history})
        for older in self._folder.iterdir():
            if older != path:
                older.unlink(missing_ok=True)

    def newest(self) -> Checkpoint | None:
        """The newest of this run, the same one on all workers; none where it has not come so far."""
        own = (int(path.stem) for path in self._folder.glob("*.safetensors") if self._is_own(path))
        step = self._workers.from_first(max(own, default=0))
        if step == 0:
            return None
        tensors, metadata = read_tensors(self._path(step))
        return Checkpoint(step, tuple(json.loads(metadata["history"])), tensors)

    def _path(self, step: int) -> Path:
        return self._folder / f"{step:08}.safetensors"

    def _is_own(self, path: Path) -> bool:
        try:
            with safe_open(path, framework="pt") as file:
                return (file.metadata() or {}).get("run") == self._run_digest
        except SafetensorError:  # a disk that lost what it had promised to keep: the run starts anew
            return False


def training_tensors(parameters: Named, optimizer: Optimizer) -> dict[str, Tensor]:
    """The parameters and what the optimizer knows about each, under names that `restore_training` reads."""
    tensors: dict[str, Tensor] = {}
    for name, parameter in parameters:
        tensors[f"weight/{name}"] = parameter.detach()
        for key, value in optimizer.state.get(parameter, {}).items():
            tensors[f"{key}/{name}"] = value.detach()
    return tensors


def restore_training(parameters: Named, optimizer: Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Put fresh parameters and their fresh optimizer where they were."""
    saved: defaultdict[str, dict[str, Tensor]] = defaultdict(dict)
    for entry, tensor in tensors.items():
        key, _, name = entry.partition("/")
        saved[name][key] = tensor
    for name, parameter in parameters:
        state = saved[name]
        parameter.data.copy_(state.pop("weight"))
        if state:  # torch keeps the step counters on the CPU
            optimizer.state[parameter] = {
                key: value if key == "step" else value.to(parameter.device) for key, value in state.items()
            }


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str]) -> None:
    contiguous = {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}
    with appears_whole(path) as temporary:
        save_file(contiguous, temporary, metadata=metadata)


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    with safe_open(path, framework="pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118  # no mapping
