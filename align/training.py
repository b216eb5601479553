"""One training run: examples -> pairs -> steps -> an adapter on disk. Plain PyTorch, in one process or as one of
several equal workers of a torch process group; knows nothing of Ray.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForImageTextToText

from .adapter import attach_adapter, save_adapter
from .config import TrainingConfig
from .dataset import PreparedPair, Skipped, prepare_pairs
from .errors import TrainingFailed
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
) -> TrainingResult:
    """Train a fresh adapter of `base` on the corrected examples and save it to the folder `output`.

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
        run = TrainingRun(model, pairs, config)
        history = list(run.steps(on_step))
        digest = save_adapter(model, output, str(base)) if run.workers.rank == 0 else ""
    return TrainingResult(
        adapter=str(output),
        digest=digest,
        num_pairs=len(pairs),
        skipped=tuple(skipped),
        history=tuple(history),
        final=_mean_of_last_epoch(history),
        seconds=time.monotonic() - started,
    )


class TrainingRun:
    """The state of one run: model, optimizer, and each pair's score under the reference."""

    def __init__(self, model: Any, pairs: Sequence[PreparedPair], config: TrainingConfig) -> None:
        self.model, self.pairs, self.config = model, pairs, config
        self.workers = Workers.current(config.device)
        self.forward = PairForward(model, pairs, config.forward)
        self.parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        for parameter in self.parameters:
            parameter.grad = torch.zeros_like(
                parameter
            )  # a worker without a share of a batch still adds its part
        self.optimizer = torch.optim.AdamW(self.parameters, lr=config.learning_rate, weight_decay=0.0)
        self.steps_per_epoch = math.ceil(len(pairs) / config.batch_size)
        self.num_steps = self.steps_per_epoch * config.num_epochs
        self.reference = self._reference_scores()

    def steps(self, on_step: OnStep | None) -> Iterator[Metrics]:
        for epoch in range(self.config.num_epochs):
            for index, batch in enumerate(self._batches(epoch)):
                step = epoch * self.steps_per_epoch + index
                metrics = self._step(batch, step) | {
                    "step": step + 1,
                    "num_steps": self.num_steps,
                    "epoch": epoch + 1,
                }
                if on_step is not None and self.workers.rank == 0:
                    on_step(metrics)
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

    def _batches(self, epoch: int) -> Iterator[list[int]]:
        generator = torch.Generator().manual_seed(self.config.seed * 1_000_003 + epoch)
        order = torch.randperm(len(self.pairs), generator=generator).tolist()
        for start in range(0, len(order), self.config.batch_size):
            yield order[start : start + self.config.batch_size]


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
