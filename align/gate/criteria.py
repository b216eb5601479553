"""What a candidate must fulfil: figures, bounds, and how sure one has to be. Fixed before training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ..config import GateConfig

Demand = Literal["shown", "kept", "unrefuted"]
"""How a bound has to be met, given an estimate and its interval.

- `shown`: the whole interval lies beyond the bound; anything else refuses. For what the candidate claims to improve.
- `kept`: the whole interval stays within the bound (non-inferiority). An estimate outside refuses; an estimate inside
  whose interval reaches out is held for review: no harm is seen, but it is not ruled out either.
- `unrefuted`: refuses only where the whole interval lies outside. For what few items can say something about.
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


def criteria(config: GateConfig) -> tuple[Criterion, ...]:
    return (
        Criterion(
            "held_out.margin",
            "shown",
            "at least",
            config.min_margin_gain,
            "no improvement is shown on held-out corrections",
        ),
        Criterion(
            "held_out.logp",
            "kept",
            "at least",
            -config.max_chosen_drop,
            "corrected answers became less likely",
        ),
        Criterion(
            "general.logp",
            "kept",
            "at least",
            -config.max_general_drop,
            "answers that nobody corrected became less likely",
        ),
        *_of_answers("held_out", "held-out corrections", config),
        *_of_answers("general", "uncorrected answers", config),
    )


def _of_answers(items: str, where: str, config: GateConfig) -> tuple[Criterion, ...]:
    """What the candidate must keep where it answers anew."""
    return (
        Criterion(
            f"{items}.coverage",
            "kept",
            "at least",
            1 - config.max_coverage_drop,
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
