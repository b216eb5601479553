"""What is compared: each recipe is a training config under a name. Knows nothing of models or scenes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from align.config import ObjectiveConfig, TrainingConfig


@dataclass(frozen=True)
class Recipe:
    """`name` is a file's name too; `learns_from` says what the chosen answers are."""

    name: str
    title: str
    config: TrainingConfig | None  # none: nothing is trained
    learns_from: Literal["corrections", "true captions"] = "corrections"


PAPER = {"preference_weight": 1.0, "beta": 0.5, "gamma": 5.0, "normalize": True, "anchor_weight": 0.0}
"""RLHF-V's dense DPO as its paper has it. Each recipe says what it has instead, so that none moves with the default."""
SUMS = {"beta": 0.1, "normalize": False}
"""As its released code has it now, where gamma is 1.1; ordinary DPO with gamma 1."""
ANCHORED = {"beta": 5.0, "preference_weight": 0.1, "anchor_weight": 1.0}
"""A small preference beside SFT. Ten times the beta: a margin of some nats a deciding token is enough."""


def dense(learning_rate: float, **objective: Any) -> TrainingConfig:
    """Three epochs; the objective is the paper's but for these fields."""
    config = TrainingConfig(learning_rate=learning_rate, num_epochs=3)
    return config.model_copy(update={"objective": ObjectiveConfig.model_validate(PAPER | objective)})


def at_least(min_steps: int, config: TrainingConfig) -> TrainingConfig:
    """With few corrections more epochs than three: 200 of them fill 13 batches."""
    return config.model_copy(update={"num_epochs": None, "min_steps": min_steps})


def sft(learning_rate: float) -> TrainingConfig:
    return dense(learning_rate, preference_weight=0.0, anchor_weight=1.0)


BASE = Recipe("base", "base", None)
DEFAULT = Recipe("default", "default", TrainingConfig())
FIRST = {"sft_first": {"num_epochs": 2, "learning_rate": 5e-4}}

TABLE: tuple[Recipe, ...] = (
    DEFAULT,
    Recipe("sixty-steps", "the default with 60 steps at least", at_least(60, dense(3e-4, **ANCHORED))),
    Recipe("three-epochs", "the default with three epochs, however few steps", dense(3e-4, **ANCHORED)),
    Recipe("sft", "SFT on corrected answers, rate 5e-4, 60 steps at least", at_least(60, sft(5e-4))),
    Recipe("sft-3e-4", "SFT on corrected answers, rate 3e-4, 60 steps at least", at_least(60, sft(3e-4))),
    Recipe(
        "ceiling",
        "SFT on true captions (ceiling), 60 steps at least",
        at_least(60, sft(5e-4)),
        "true captions",
    ),
    Recipe("dpo", "DPO", dense(5e-4, **SUMS, gamma=1.0)),
    Recipe("dense-paper", "dense DPO, paper form", dense(5e-4)),
    Recipe("dense-released", "dense DPO, paper form, released weights", dense(5e-4, weighting="released")),
    Recipe("dense-sums", "dense DPO, sums", dense(5e-4, **SUMS, gamma=1.1)),
    Recipe("dense-anchored", "dense DPO, paper form, with anchor", dense(2e-4, anchor_weight=1.0)),
    Recipe(
        "light-5e-4",
        "the default's form, rate 5e-4, 60 steps at least",
        at_least(60, dense(5e-4, **ANCHORED)),
    ),
    Recipe("sft-first", "SFT first, then dense DPO with anchor", dense(2e-4, **ANCHORED, **FIRST)),
)

SEARCH: tuple[Recipe, ...] = (
    Recipe("sft-3e-4", "SFT, rate 3e-4", sft(3e-4)),
    Recipe("sft-5e-4", "SFT, rate 5e-4", sft(5e-4)),
    Recipe("sft-5e-4-60", "SFT, rate 5e-4, 60 steps at least", at_least(60, sft(5e-4))),
    Recipe("sft-1e-3", "SFT, rate 1e-3", sft(1e-3)),
    Recipe("sft-2e-3", "SFT, rate 2e-3", sft(2e-3)),
    Recipe("paper-2e-4", "dense DPO, paper form, rate 2e-4", dense(2e-4)),
    Recipe("paper-5e-4", "dense DPO, paper form, rate 5e-4", dense(5e-4)),
    Recipe("anchor-2e-4", "dense DPO with anchor, rate 2e-4", dense(2e-4, anchor_weight=1.0)),
    Recipe("anchor-5e-4", "dense DPO with anchor, rate 5e-4", dense(5e-4, anchor_weight=1.0)),
    Recipe("leash-5e-4", "the same, beta 5, rate 5e-4", dense(5e-4, anchor_weight=1.0, beta=5.0)),
    Recipe("leash-1e-3", "the same, beta 5, rate 1e-3", dense(1e-3, anchor_weight=1.0, beta=5.0)),
    Recipe("light-3e-4", "a tenth of dense DPO beside SFT, beta 5, rate 3e-4", dense(3e-4, **ANCHORED)),
    Recipe("light-3e-4-40", "the same, 40 steps at least", at_least(40, dense(3e-4, **ANCHORED))),
    Recipe("light-3e-4-60", "the same, 60 steps at least", at_least(60, dense(3e-4, **ANCHORED))),
    Recipe("light-5e-4", "a tenth of dense DPO beside SFT, beta 5, rate 5e-4", dense(5e-4, **ANCHORED)),
    Recipe("light-5e-4-60", "the same, 60 steps at least", at_least(60, dense(5e-4, **ANCHORED))),
    Recipe("light-1e-3", "a tenth of dense DPO beside SFT, beta 5, rate 1e-3", dense(1e-3, **ANCHORED)),
)
