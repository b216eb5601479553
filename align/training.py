"""One training run: examples -> pairs -> steps -> an adapter on disk. Plain PyTorch, in one process or as one of
several equal workers of a torch process group; knows nothing of Ray.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForImageTextToText

from .adapter import attach_adapter, save_adapter
from .checkpoints import Checkpoint, Checkpoints, restore_training, training_tensors
from .config import TrainingConfig
from .dataset import PreparedPair, Skipped, prepare_pairs
from .errors import TrainingFailed, TrainingStopped
from .examples import Example
from .forward import PairForward
from .objective import METRIC_NAMES, Losses, answer_score, dense_dpo
from .rendering import Renderer
from .workers import Workers

Metrics = dict[str, float]
OnStep = Callable[[Metrics], None]


@dataclass(frozen=True)
class TrainingResult:
    """`history` holds one entry per step; `final` the means over the last epoch's pairs."""

    adapter: str  # folder
    digest: str
    num_pairs: int
    skipped: tuple[Skipped, ...]
    history: tuple[Metrics, ...]
    final: Metrics
    seconds: float


def train(
    base: str | Path,
    examples: Sequence[Example],
    config: TrainingConfig,
    output: Path,
    on_step: OnStep | None = None,
    checkpoints: Path | None = None,
    should_stop: Callable[[], bool] = lambda: False,
) -> TrainingResult:
    """Train a fresh adapter of `base` on the corrected examples and save it to the folder `output`.

    With a folder of `checkpoints` it goes on from the newest one of the same run; `should_stop` is asked after every
    step, and ends the run with `TrainingStopped` once its state is saved there.

    Inside a torch process group every worker calls this with the same arguments: each takes its share of every
    batch, and rank 0 writes. Raises `NothingToLearn` if no example makes a pair, `TrainingFailed` if the loss stops
    being a number.
    """
    started = time.monotonic()
    with _seeded(config):
        renderer = Renderer.from_pretrained(base)
        dtype = getattr(torch, config.forward.precision)
        model = AutoModelForImageTextToText.from_pretrained(base, dtype=dtype).to(config.device)
        pairs, skipped = prepare_pairs(examples, renderer, _max_length(model, config))
        model = attach_adapter(model, config.lora)
        workers = Workers.current(config.device)
        kept = None
        if checkpoints is not None:
            kept = Checkpoints(checkpoints, run_digest(base, examples, config), workers)
        run = TrainingRun(model, pairs, config, kept.newest() if kept is not None else None)
        for metrics in run.steps():
            if on_step is not None and workers.rank == 0:
                on_step(metrics)
            _keep(run, kept, workers.any(should_stop()))
        digest = save_adapter(model, output, str(base)) if workers.rank == 0 else ""
    return TrainingResult(
        adapter=str(output),
        digest=digest,
        num_pairs=len(pairs),
        skipped=tuple(skipped),
        history=tuple(run.history),
        final=_mean_of_last_epoch(run.history),
        seconds=time.monotonic() - started,
    )


class TrainingRun:
    """The state of one run: model, optimizer, and each pair's score under the reference."""

    def __init__(
        self,
        model: Any,
        pairs: Sequence[PreparedPair],
        config: TrainingConfig,
        checkpoint: Checkpoint | None = None,
    ) -> None:
        self.model, self.pairs, self.config = model, pairs, config
        self.workers = Workers.current(config.device)
        self.forward = PairForward(model, pairs, config.forward)
        self.named_parameters = [named for named in model.named_parameters() if named[1].requires_grad]
        self.parameters = [parameter for _, parameter in self.named_parameters]
        for parameter in self.parameters:
            parameter.grad = torch.zeros_like(
                parameter
            )  # a worker without a share of a batch still adds its part
        self.optimizer = torch.optim.AdamW(self.parameters, lr=config.learning_rate, weight_decay=0.0)
        self.steps_per_epoch = math.ceil(len(pairs) / config.batch_size)
        self.num_steps = self.steps_per_epoch * config.num_epochs
        self.history: list[Metrics] = []
        if checkpoint is None:
            self.reference = self._reference_scores()
        else:
            self._restore(checkpoint)

    @property
    def is_done(self) -> bool:
        return len(self.history) == self.num_steps

    def steps(self) -> Iterator[Metrics]:
        """Do what is still to do, a step at a time."""
        for step, batch in islice(enumerate(self._batches()), len(self.history), None):
            self._seed(step)
            metrics = self._step(batch, step) | {
                "step": step + 1,
                "num_steps": self.num_steps,
                "epoch": step // self.steps_per_epoch + 1,
            }
            self.history.append(metrics)
            yield metrics

    def _step(self, batch: list[int], step: int) -> Metrics:
        """One optimizer step over a global batch of pair numbers."""
        rate = learning_rate(step, self.num_steps, self.config)
        self.model.train()
        metrics = self.gather_gradients(batch)
        norm = float(torch.nn.utils.clip_grad_norm_(self.parameters, self.config.max_grad_norm))
        if not (math.isfinite(metrics["loss"]) and math.isfinite(norm)):
            raise TrainingFailed(
                f"the loss is no number at step {step + 1}; lower learning_rate ({rate:g} there)"
            )
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        return metrics | {"grad_norm": norm, "learning_rate": rate}

    def gather_gradients(self, batch: list[int]) -> Metrics:
        """Gradients of the batch's mean loss, over all micro-batches and workers; returns the mean metrics."""
        self.optimizer.zero_grad(set_to_none=False)
        sums = torch.zeros(len(METRIC_NAMES))
        for part in self._own_parts(batch):
            losses = self._losses(part)
            (losses.loss.sum() / len(batch)).backward()  # type: ignore[no-untyped-call]  # torch has no types here
            sums += torch.stack([losses.metrics[name].sum() for name in METRIC_NAMES]).cpu()
        self.workers.add_gradients(self.parameters)
        return dict(zip(METRIC_NAMES, (self.workers.total(sums) / len(batch)).tolist(), strict=True))

    def _losses(self, part: list[int]) -> Losses:
        chosen, rejected = self.forward([self.pairs[number] for number in part])
        return dense_dpo(chosen, rejected, self.reference[part].to(self.config.device), self.config.objective)

    @torch.no_grad()
    def _reference_scores(self) -> torch.Tensor:  # (num_pairs, 2): chosen, rejected
        """Once per pair, before training and with the adapter off, so no second model is needed."""
        scores = torch.zeros(len(self.pairs), 2)
        everything = list(range(len(self.pairs)))
        objective = self.config.objective
        self.model.eval()
        with self.model.disable_adapter():
            for part in self._own_parts(everything):
                for side, answers in enumerate(self.forward([self.pairs[number] for number in part])):
                    scores[part, side] = answer_score(answers, objective.gamma, objective.normalize).cpu()
        return self.workers.total(scores)

    def _own_parts(self, batch: list[int]) -> Iterator[list[int]]:
        """This worker's share of a batch, in micro-batches of similar length to spare padding."""
        by_length = sorted(batch, key=lambda number: self.pairs[number].length)
        own = self.workers.share(by_length)
        for start in range(0, len(own), self.config.micro_batch_size):
            yield own[start : start + self.config.micro_batch_size]

    def _batches(self) -> Iterator[list[int]]:
        """Every step's pair numbers. They follow from the seed, so a run that goes on sees what it would have seen."""
        for epoch in range(self.config.num_epochs):
            generator = torch.Generator().manual_seed(self.config.seed * 1_000_003 + epoch)
            order = torch.randperm(len(self.pairs), generator=generator).tolist()
            for start in range(0, len(order), self.config.batch_size):
                yield order[start : start + self.config.batch_size]

    def _seed(self, step: int) -> None:
        """Dropout of a step depends on nothing before it, so no generator has to be kept."""
        torch.manual_seed((self.config.seed * 1_000_003 + step) * self.workers.num + self.workers.rank)

    def checkpoint(self) -> Checkpoint:
        tensors = training_tensors(self.named_parameters, self.optimizer) | {"reference": self.reference}
        return Checkpoint(len(self.history), tuple(self.history), tensors)

    def _restore(self, checkpoint: Checkpoint) -> None:
        restore_training(self.named_parameters, self.optimizer, checkpoint.tensors)
        self.history, self.reference = list(checkpoint.history), checkpoint.tensors["reference"]


def run_digest(base: str | Path, examples: Sequence[Example], config: TrainingConfig) -> str:
    """SHA-256 of all that a run's outcome depends on: a checkpoint with another one is another run's."""
    learned = {
        "base": str(base),
        "examples": [example.to_json() for example in examples],
        "config": config.model_dump(mode="json", exclude=set(TrainingConfig.PLACEMENT)),
    }
    return hashlib.sha256(json.dumps(learned, sort_keys=True).encode()).hexdigest()


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


def learning_rate(step: int, num_steps: int, config: TrainingConfig) -> float:
    """Linear rise over the warm-up, then linear fall; the last step's rate is the last above zero."""
    num_warmup = int(num_steps * config.warmup_ratio)
    if step < num_warmup:
        return config.learning_rate * (step + 1) / (num_warmup + 1)
    return config.learning_rate * (num_steps - step) / max(num_steps - num_warmup, 1)


def _max_length(model: Any, config: TrainingConfig) -> int:
    positions: int | None = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    return min(config.max_length, positions or config.max_length)


def _mean_of_last_epoch(history: Sequence[Metrics]) -> Metrics:
    last = [metrics for metrics in history if metrics["epoch"] == history[-1]["epoch"]]
    return {name: sum(metrics[name] for metrics in last) / len(last) for name in METRIC_NAMES}


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
