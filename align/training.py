"""One training run: examples -> pairs -> steps -> an adapter on disk. Plain PyTorch, in one process or as one of
several equal workers of a torch process group; knows nothing of Ray.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog
import torch
from transformers import AutoModelForImageTextToText

from .adapter import attach_adapter, save_adapter
from .checkpoints import Checkpoints
from .config import TrainingConfig
from .dataset import Skipped, prepare_pairs
from .diagnosis import chosen_fall, margin_quartiles, mean_of_epoch
from .errors import TrainingStopped
from .examples import Example
from .feature_files import FeatureFiles
from .objective import METRIC_NAMES
from .pausing import wait_while
from .rendering import Renderer
from .steps import Metrics, TrainingRun
from .workers import Workers

OnStep = Callable[[Metrics], None]


@dataclass(frozen=True)
class TrainingResult:
    """`history` holds one entry per step; `final` the means over the last epoch's pairs, and `margin_quartiles` their
    reward margins by quarters, from the smallest to the largest."""

    adapter: str  # folder
    digest: str
    num_pairs: int
    skipped: tuple[Skipped, ...]
    history: tuple[Metrics, ...]
    final: Metrics
    margin_quartiles: tuple[float, ...]
    warnings: tuple[str, ...]
    seconds: float  # of the last attempt, where the run broke off


def train(
    base: str | Path,
    examples: Sequence[Example],
    config: TrainingConfig,
    output: Path,
    on_step: OnStep | None = None,
    checkpoints: Path | None = None,
    features: Path | None = None,
    should_stop: Callable[[], bool] = lambda: False,
    should_pause: Callable[[], bool] = lambda: False,
) -> TrainingResult:
    """Train a fresh adapter of `base` on the corrected examples and save it to the folder `output`.

    With a folder of `checkpoints` it goes on from the newest one of the same run; `should_stop` is asked after every
    step, and ends the run with `TrainingStopped` once its state is saved there. Before each micro-batch it waits for as
    long as `should_pause` and not `should_stop`. The folder `features` is for image
    features that memory does not hold; without it they are computed again.

    Inside a torch process group every worker calls this with the same arguments: each takes its share of every
    batch, and rank 0 writes. Raises `NothingToLearn` if no example makes a pair, `TrainingFailed` if the loss stops
    being a number.
    """
    started = time.monotonic()
    with _seeded(config):
        renderer = Renderer.from_pretrained(base)
        dtype = getattr(torch, config.forward.precision)
        model = AutoModelForImageTextToText.from_pretrained(base, dtype=dtype).to(config.device)
        pairs, skipped = prepare_pairs(examples, renderer, _max_length(model, config), config.objective)
        workers = Workers.current(config.device)
        kept = None
        if checkpoints is not None:
            kept = Checkpoints(checkpoints, run_digest(model, examples, config), workers)
        model = attach_adapter(model, config.lora)
        files = None
        if features is not None and config.forward.image_disk_bytes:
            files = FeatureFiles(features, config.forward.image_disk_bytes, base, dtype)
        run = TrainingRun(
            model,
            pairs,
            config,
            kept.newest() if kept is not None else None,
            files,
            wait=lambda: wait_while(should_pause, should_stop),
        )
        for metrics in run.steps():
            if on_step is not None and workers.rank == 0:
                on_step(metrics)
            _warn(run)
            _keep(run, kept, workers.any(should_stop()))
        digest = save_adapter(model, output, str(base)) if workers.rank == 0 else ""
    return TrainingResult(
        adapter=str(output),
        digest=digest,
        num_pairs=len(pairs),
        skipped=tuple(skipped),
        history=tuple(run.history),
        final=mean_of_epoch(run.history, run.num_epochs, METRIC_NAMES),
        margin_quartiles=margin_quartiles(run.margins.tolist()),
        warnings=tuple(
            warning for epoch in range(run.num_epochs) if (warning := chosen_fall(run.history, epoch + 1))
        ),
        seconds=time.monotonic() - started,
    )


def run_digest(base: torch.nn.Module, examples: Sequence[Example], config: TrainingConfig) -> str:
    """SHA-256 of all that a run's outcome depends on: a checkpoint with another one is another run's.

    Of the base's weights it takes integer sums of their bits: quick, and unlike sums of floats the same everywhere.
    """
    learned = {
        "base": [int(_bits(weights).sum(dtype=torch.int64)) for weights in base.state_dict().values()],
        "examples": [example.to_json() for example in examples],
        "config": config.model_dump(mode="json", exclude=set(TrainingConfig.PLACEMENT)),
    }
    return hashlib.sha256(json.dumps(learned, sort_keys=True).encode()).hexdigest()


def _bits(weights: torch.Tensor) -> torch.Tensor:
    integer = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}[weights.element_size()]
    return weights.contiguous().view(integer)


def _keep(run: TrainingRun, checkpoints: Checkpoints | None, is_stopping: bool) -> None:
    """Save a checkpoint if one is due after this step. Raises `TrainingStopped` where that was the last for now."""
    step = len(run.history)
    is_stopping = is_stopping and not run.is_done
    is_due = is_stopping or run.is_done or step % run.config.checkpoint_every == 0
    if checkpoints is not None and is_due:
        checkpoints.save(run.checkpoint())
    if is_stopping:
        raise TrainingStopped(
            f"training was stopped after step {step} of {run.num_steps}; it goes on when it is started again"
        )


def _warn(run: TrainingRun) -> None:
    """Say at the end of an epoch if the corrected answers became less likely than at the start."""
    epoch, is_within = divmod(len(run.history), run.steps_per_epoch)
    if not is_within and run.workers.rank == 0 and (warning := chosen_fall(run.history, epoch)):
        structlog.get_logger(__name__).warning("chosen_answers_fell", epoch=epoch, reason=warning)


def _max_length(model: Any, config: TrainingConfig) -> int:
    positions: int | None = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    return min(config.max_length, positions or config.max_length)


@contextmanager
def _seeded(config: TrainingConfig) -> Iterator[None]:
    """Seed and threads of this run; the caller's are put back afterwards."""
    num_threads = torch.get_num_threads()
    with torch.random.fork_rng([config.device] if config.device.startswith("cuda") else []):
        torch.manual_seed(config.seed)
        torch.set_num_threads(config.num_threads)
        try:
            yield
        finally:
            torch.set_num_threads(num_threads)
