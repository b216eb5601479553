"""What is compared: each recipe is a training config under a name. Knows nothing of models or scenes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from align.config import ObjectiveConfig, TrainingConfig

DEFAULT = TrainingConfig()


@dataclass(frozen=True)
class Recipe:
    """`name` is a file's name too; `learns_from` says what the chosen answers are."""

    name: str
    title: str
    config: TrainingConfig | None  # none: nothing is trained
    learns_from: Literal["corrections", "true captions"] = "corrections"


def changed(learning_rate: float = DEFAULT.learning_rate, **objective: Any) -> TrainingConfig:
    """The default with another rate, and its objective with other fields."""
    fields = DEFAULT.objective.model_dump() | objective
    changes = {"objective": ObjectiveConfig.model_validate(fields), "learning_rate": learning_rate}
    return DEFAULT.model_copy(update=changes)


BASE = Recipe("base", "base", None)
SFT = changed(1e-3, preference_weight=0.0)
SFT_FIRST = {"num_epochs": 2, "learning_rate": 1e-3}

TABLE: tuple[Recipe, ...] = (
    Recipe("default", "default", DEFAULT),
    Recipe("sft", "SFT on corrected answers", SFT),
    Recipe("ceiling", "SFT on true captions (ceiling)", SFT, "true captions"),
)

SEARCH: tuple[Recipe, ...] = (
    Recipe("sft-1e-3", "SFT, rate 1e-3", SFT),
    Recipe("sft-2e-3", "SFT, rate 2e-3", changed(2e-3, preference_weight=0.0)),
    Recipe("sft-5e-4", "SFT, rate 5e-4", changed(5e-4, preference_weight=0.0)),
    Recipe("paper-2e-4", "dense DPO, paper form", changed(anchor_weight=0.0)),
    Recipe("paper-5e-4", "dense DPO, paper form, rate 5e-4", changed(5e-4, anchor_weight=0.0)),
    Recipe("anchor-2e-4", "dense DPO with anchor", changed()),
    Recipe("anchor-5e-4", "dense DPO with anchor, rate 5e-4", changed(5e-4)),
    Recipe("leash-5e-4", "dense DPO with anchor, beta 5, rate 5e-4", changed(5e-4, beta=5.0)),
    Recipe("leash-1e-3", "dense DPO with anchor, beta 5, rate 1e-3", changed(1e-3, beta=5.0)),
    Recipe(
        "light-1e-3",
        "a tenth of dense DPO, beta 5, rate 1e-3",
        changed(1e-3, beta=5.0, preference_weight=0.1),
    ),
    Recipe("dpo-2e-4", "DPO", changed(beta=0.1, gamma=1.0, normalize=False, anchor_weight=0.0)),
    Recipe(
        "dpo-anchor-1e-3", "DPO with anchor, rate 1e-3", changed(1e-3, beta=0.1, gamma=1.0, normalize=False)
    ),
    Recipe("sums-2e-4", "dense DPO, sums", changed(beta=0.1, gamma=1.1, normalize=False, anchor_weight=0.0)),
    Recipe("released-2e-4", "dense DPO, released weights", changed(weighting="released", anchor_weight=0.0)),
    Recipe("sft-first", "SFT first, then dense DPO with anchor", changed(sft_first=SFT_FIRST, beta=5.0)),
)
