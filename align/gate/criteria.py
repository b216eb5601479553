"""What a candidate must fulfil: figures, bounds, and how sure one has to be. Fixed before training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ..config import GateConfig
from ..scenes.score import CLAIM_KINDS
from ..spans import KINDS

Demand = Literal["shown", "kept", "unrefuted"]
"""How a bound has to be met, given an estimate and its interval.

- `shown`: the whole interval lies beyond the bound; anything else refuses. For what the candidate claims to improve.
- `kept`: the whole interval stays within the bound (non-inferiority). An estimate outside refuses; an estimate inside
  whose interval reaches out is held for review: no harm is seen, but it is not ruled out either.
- `unrefuted`: refuses only where the whole interval lies outside. For what is not known everywhere, or of few items.
"""
Side = Literal["at least", "at most"]


@dataclass(frozen=True)
class Criterion:
    """The change of `figure` must be `side` the `bound`; `complaint` says what it means where it is not."""

    figure: str
    demand: Demand
    side: Side
    bound: float
    complaint: str
    min_images: int = 1  # that must say something about the figure; with fewer, it is not judged

    @property
    def comparative(self) -> str:
        """How the bound reads in words."""
        if self.demand != "shown":
            return self.side
        return "more than" if self.side == "at least" else "less than"


def criteria(config: GateConfig) -> tuple[Criterion, ...]:
    """All of them, the most telling first."""
    return (
        *_improvement(config),
        Criterion(
            "held_out.logp",
            "kept",
            "at least",
            -config.max_corrected_drop,
            "corrected answers became less likely",
        ),
        *_of_answers("held_out", "held-out corrections", config.max_coverage_drop, config),
        Criterion(
            "general.divergence",
            "kept",
            "at most",
            config.max_divergence,
            "the candidate strays from the base where nobody corrected it",
        ),
        *_of_answers("general", "uncorrected answers", config.max_general_coverage_drop, config),
        *_truth(config),
    )


def _improvement(config: GateConfig) -> tuple[Criterion, ...]:
    return (
        Criterion(
            "held_out.margin",
            "unrefuted",
            "at least",
            0.0,
            "it is worse: held-out corrections are preferred less than before",
        ),
        Criterion(
            "held_out.margin",
            "shown",
            "at least",
            config.min_margin_gain,
            "no improvement is shown on held-out corrections",
        ),
        Criterion(
            "held_out.recurrence",
            "kept",
            "at most",
            config.max_recurrence_rise,
            "what people took out of held-out answers comes back more often",
        ),
        *(
            _of_few(f"recurrence.{kind}", f"what people took out comes back more often: kind {kind}", config)
            for kind in KINDS
        ),
    )


def _of_answers(
    items: str, where: str, max_coverage_drop: float, config: GateConfig
) -> tuple[Criterion, ...]:
    """What the candidate must keep where it answers anew."""
    return (
        Criterion(
            f"{items}.coverage",
            "kept",
            "at least",
            1 - max_coverage_drop,
            f"answers tell less than before on {where}",
        ),
        Criterion(
            f"{items}.length", "kept", "at least", 1 - config.max_shrinkage, f"answers shrank on {where}"
        ),
        Criterion(f"{items}.length", "kept", "at most", 1 + config.max_growth, f"answers grew on {where}"),
        Criterion(
            f"{items}.unreadable",
            "kept",
            "at most",
            config.max_unreadable_rise,
            f"answers became empty or degenerate on {where}",
        ),
    )


def _truth(config: GateConfig) -> tuple[Criterion, ...]:
    """For worlds that can score themselves."""
    return (
        Criterion("truth.wrong", "unrefuted", "at most", 0.0, "more answers claim what is not so"),
        Criterion(
            "truth.coverage",
            "kept",
            "at least",
            1 - config.max_coverage_drop,
            "answers name fewer of the objects that are there",
            config.min_kind_images,
        ),
        *(
            _of_few(f"truth.{kind}", f"more answers claim what is not so: kind {kind}", config)
            for kind in CLAIM_KINDS
        ),
    )


def _of_few(figure: str, complaint: str, config: GateConfig) -> Criterion:
    """One kind of mistake, which may be rare."""
    return Criterion(figure, "unrefuted", "at most", config.max_kind_rise, complaint, config.min_kind_images)
