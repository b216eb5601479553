"""The optimizer steps of one run, over pairs that are ready for the model: as one process or one of several workers.

Knows nothing of files: its state comes and goes as a `Checkpoint`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

import torch

from .checkpoints import Checkpoint, restore_training, training_tensors
from .config import ObjectiveConfig, TrainingConfig
from .dataset import PreparedPair
from .errors import TrainingFailed
from .feature_files import FeatureFiles
from .forward import PairForward
from .objective import METRIC_NAMES, Losses, PairLogps, Reference, pair_losses, reference_table
from .schedule import Stage, learning_rate, stage_at, stages
from .workers import Workers

Metrics = dict[str, float]


class TrainingRun:
    """The state of one run: model, optimizer, and each pair's score under the reference."""

    def __init__(
        self,
        model: Any,
        pairs: Sequence[PreparedPair],
        config: TrainingConfig,
        checkpoint: Checkpoint | None = None,
        feature_files: FeatureFiles | None = None,
        wait: Callable[[], object] = lambda: None,
    ) -> None:
        """`wait` is called before each micro-batch."""
        self.model, self.pairs, self.config, self._wait = model, pairs, config, wait
        self.workers = Workers.current(config.device)
        self.forward = PairForward(model, pairs, config.forward, feature_files)
        self.named_parameters = [named for named in model.named_parameters() if named[1].requires_grad]
        self.parameters = [parameter for _, parameter in self.named_parameters]
        for parameter in self.parameters:
            parameter.grad = torch.zeros_like(
                parameter
            )  # a worker without a share of a batch still adds its part
        self.steps_per_epoch = math.ceil(len(pairs) / config.batch_size)
        self.stages = stages(self.steps_per_epoch, config)
        self.num_epochs = sum(stage.num_epochs for stage in self.stages)
        self.num_steps = self.steps_per_epoch * self.num_epochs
        self.history: list[Metrics] = []
        self.margins = torch.zeros(len(pairs))  # of each pair as it was last met
        self._enter(self.stages[0])
        if checkpoint is None:
            with model.disable_adapter():  # the base itself, so no second model is needed
                self.reference = self._reference_table()
        else:
            self._restore(checkpoint)

    @property
    def is_done(self) -> bool:
        return len(self.history) == self.num_steps

    def steps(self) -> Iterator[Metrics]:
        """Do what is still to do, a step at a time."""
        for step, batch in islice(enumerate(self._batches()), len(self.history), None):
            stage = stage_at(step, self.stages)
            if stage is not self.stage:
                self._enter(stage)
                if stage.is_own_reference:
                    self.reference[:, :3] = self._reference_table()[:, :3]  # the start stays where it was
            self._seed(step)
            metrics = self._step(batch, step) | {
                "step": step + 1,
                "num_steps": self.num_steps,
                "epoch": step // self.steps_per_epoch + 1,
                "num_batch_pairs": len(batch),
            }
            self.history.append(metrics)
            yield metrics

    def _enter(self, stage: Stage) -> None:
        self.stage = stage
        self.optimizer = torch.optim.AdamW(self.parameters, lr=stage.learning_rate, weight_decay=0.0)

    def _step(self, batch: list[int], step: int) -> Metrics:
        """One optimizer step over a global batch of pair numbers."""
        rate = learning_rate(step, self.stage, self.config.warmup_ratio)
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
        margins = torch.zeros(len(self.pairs))
        for part in self._own_parts(batch):
            losses = self._losses(part)
            (losses.loss.sum() / len(batch)).backward()  # type: ignore[no-untyped-call]  # torch has no types here
            sums += torch.stack([losses.metrics[name].sum() for name in METRIC_NAMES]).cpu()
            margins[part] = losses.metrics["rewards/margins"].cpu()
        self.margins[batch] = self.workers.total(margins[batch])
        self.workers.add_gradients(self.parameters)
        return dict(zip(METRIC_NAMES, (self.workers.total(sums) / len(batch)).tolist(), strict=True))

    def _losses(self, part: list[int]) -> Losses:
        reference = Reference.from_table(self.reference[part].to(self.config.device))
        objective = self.stage.objective
        return pair_losses(self._logps(part, objective), reference, objective)

    def _logps(self, part: list[int], objective: ObjectiveConfig) -> PairLogps:
        pairs = [self.pairs[number] for number in part]
        chosen, rejected = self.forward(pairs)
        if not objective.image_contrast_weight:
            return PairLogps(chosen, rejected)
        misled, _ = self.forward([replace(pair, prompt=pair.misleading or pair.prompt) for pair in pairs])
        has_image = torch.tensor([pair.misleading is not None for pair in pairs], device=self.config.device)
        return PairLogps(chosen, rejected, misled.of(has_image))

    @torch.no_grad()
    def _reference_table(self) -> torch.Tensor:  # (num_pairs, 4), the columns of `Reference`
        """Once per pair, by the model as it is."""
        objective = self.config.objective
        table = torch.zeros(len(self.pairs), 4)
        self.model.eval()
        for part in self._own_parts(list(range(len(self.pairs)))):
            table[part] = reference_table(self._logps(part, objective), objective).cpu()
        return self.workers.total(table)

    def _own_parts(self, batch: list[int]) -> Iterator[list[int]]:
        """This worker's share of a batch, in micro-batches of similar length to spare padding."""
        by_length = sorted(batch, key=lambda number: self.pairs[number].length)
        own = self.workers.share(by_length)
        for start in range(0, len(own), self.config.micro_batch_size):
            self._wait()
            yield own[start : start + self.config.micro_batch_size]

    def _batches(self) -> Iterator[list[int]]:
        """Every step's pair numbers. They follow from the seed, so a run that goes on sees what it would have seen."""
        for epoch in range(self.num_epochs):
            generator = torch.Generator().manual_seed(self.config.seed * 1_000_003 + epoch)
            order = torch.randperm(len(self.pairs), generator=generator).tolist()
            for start in range(0, len(order), self.config.batch_size):
                yield order[start : start + self.config.batch_size]

    def _seed(self, step: int) -> None:
        """Dropout of a step depends on nothing before it, so no generator has to be kept."""
        torch.manual_seed((self.config.seed * 1_000_003 + step) * self.workers.num + self.workers.rank)

    def checkpoint(self) -> Checkpoint:
        tensors = training_tensors(self.named_parameters, self.optimizer) | {
            "reference": self.reference,
            "margins": self.margins,
        }
        return Checkpoint(len(self.history), tuple(self.history), tensors)

    def _restore(self, checkpoint: Checkpoint) -> None:
        self._enter(stage_at(checkpoint.step - 1, self.stages))
        restore_training(self.named_parameters, self.optimizer, checkpoint.tensors)
        self.history = list(checkpoint.history)
        self.reference, self.margins = checkpoint.tensors["reference"], checkpoint.tensors["margins"]
