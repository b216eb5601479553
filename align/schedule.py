"""When a run does what: its stages, and the learning rate of each of their steps. Pure functions of the config."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from .config import ObjectiveConfig, TrainingConfig

MIN_EPOCHS = 3


@dataclass(frozen=True)
class Stage:
    """A part of a run with its own objective, rate and optimizer. `first_step` counts over the whole run."""

    objective: ObjectiveConfig
    learning_rate: float
    num_epochs: int
    first_step: int
    num_steps: int
    is_own_reference: bool = False
    """Whether the preference is measured against the model as it enters this stage, or else the base."""


def stages(steps_per_epoch: int, config: TrainingConfig) -> list[Stage]:
    """SFT first where it is asked for, then the objective."""
    objective, first = config.objective, config.objective.sft_first
    num_epochs = 0 if first is None else first.num_epochs
    num_main_epochs = epochs(steps_per_epoch, config)
    main = Stage(
        objective,
        config.learning_rate,
        num_main_epochs,
        num_epochs * steps_per_epoch,
        num_main_epochs * steps_per_epoch,
        is_own_reference=first is not None and first.reference == "sft",
    )
    if first is None:
        return [main]
    return [Stage(objective.of_sft, first.learning_rate, num_epochs, 0, main.first_step), main]


def epochs(steps_per_epoch: int, config: TrainingConfig) -> int:
    """Passes over all pairs for the objective itself."""
    if config.num_epochs is not None:
        return config.num_epochs
    return max(MIN_EPOCHS, math.ceil(config.min_steps / steps_per_epoch))


def stage_at(step: int, of: Sequence[Stage]) -> Stage:
    """The stage to which a step of the run belongs, counted from 0."""
    return next(stage for stage in reversed(of) if stage.first_step <= step)


def learning_rate(step: int, stage: Stage, warmup_ratio: float) -> float:
    """Linear rise over the warm-up, then linear fall; the last step's rate is the last above zero."""
    done, num_warmup = step - stage.first_step, int(stage.num_steps * warmup_ratio)
    if done < num_warmup:
        return stage.learning_rate * (done + 1) / (num_warmup + 1)
    return stage.learning_rate * (stage.num_steps - done) / max(stage.num_steps - num_warmup, 1)
