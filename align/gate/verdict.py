"""The decision: admitted, refused or held for review, with its reasons in words and numbers. Knows no model.

Fail closed: what is missing, not finite or too little refuses. The candidate must improve on corrections that it
never saw, and must not pay for it elsewhere: a collapsed model makes no mistakes either, since it says nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from ..config import GateConfig
from .bootstrap import Bootstrap, Interval
from .criteria import Criterion, criteria
from .figures import FIGURES, Comparison, compare
from .measured import ItemMeasurement

Decision = Literal["admitted", "refused", "held"]
Standing = Literal["met", "open", "failed"]


@dataclass(frozen=True)
class Finding:
    """How a criterion stands. `open`: no harm is seen, but too little was measured to rule it out."""

    criterion: Criterion
    standing: Standing
    words: str


@dataclass(frozen=True)
class Verdict:
    """`reasons` say why it was refused or held, or on which grounds it was admitted."""

    decision: Decision
    reasons: tuple[str, ...]
    findings: tuple[Finding, ...]
    comparisons: dict[str, Comparison]
    num_held_out: int
    num_general: int

    @property
    def is_admitted(self) -> bool:
        return self.decision == "admitted"

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def decide(
    held_out: Sequence[ItemMeasurement], general: Sequence[ItemMeasurement], config: GateConfig
) -> Verdict:
    """Judge the candidate on held-out corrections and on answers that nobody corrected (`general`)."""
    if flaws := _flaws("held-out corrections", held_out, config.min_items) + _flaws(
        "uncorrected answers", general, config.min_general_items
    ):
        return Verdict("refused", tuple(flaws), (), {}, len(held_out), len(general))
    bootstrap = Bootstrap(config.num_resamples, config.confidence, config.seed)
    comparisons = compare(held_out, general, bootstrap)
    findings = tuple(_finding(criterion, comparisons[criterion.figure]) for criterion in criteria(config))
    decision, reasons = _conclusion(findings)
    return Verdict(decision, reasons, findings, comparisons, len(held_out), len(general))


def _flaws(name: str, items: Sequence[ItemMeasurement], min_items: int) -> list[str]:
    """What makes a decision impossible."""
    if len(items) < min_items:
        return [f"refused: only {len(items)} {name}, {min_items} are needed for a decision"]
    if len({item.group for item in items}) < 2:
        return [f"refused: all {name} are about one image, so nothing is known about others"]
    broken = [item.id for item in items if not (item.live.is_finite and item.candidate.is_finite)]
    if broken:
        return [
            f"refused: {len(broken)} of {len(items)} {name} have a measurement that is no number: {broken[0]}"
        ]
    if not any(item.live.coverage for item in items) or not any(item.live.num_words for item in items):
        return [
            f"refused: the live adapter says nothing about the {name}, so there is nothing to compare with"
        ]
    return []


def _finding(criterion: Criterion, comparison: Comparison) -> Finding:
    """With what was measured and what was needed in words, after the complaint where there is one."""
    figure, change = FIGURES[criterion.figure], comparison.change
    stands = standing(criterion, change)
    needed = f"{criterion.side} {figure.shown_bound(criterion.bound)} is needed"
    complaint = "" if stands == "met" else f"{criterion.complaint}: "
    return Finding(criterion, stands, f"{complaint}{figure.title} {figure.shown(change)}, {needed}")


def standing(criterion: Criterion, change: Interval) -> Standing:
    """How the interval stands to the bound. One that is no number fails."""
    sign = 1 if criterion.side == "at least" else -1
    worst, best = sorted(sign * (end - criterion.bound) for end in (change.low, change.high))
    if criterion.demand == "shown":
        return "met" if worst > 0 else "failed"
    if criterion.demand == "unrefuted":
        return "met" if best >= 0 else "failed"
    if not sign * (change.estimate - criterion.bound) >= 0:
        return "failed"
    return "met" if worst >= 0 else "open"


def _conclusion(findings: Sequence[Finding]) -> tuple[Decision, tuple[str, ...]]:
    """A failed criterion refuses, an open one holds."""
    if failed := [finding for finding in findings if finding.standing == "failed"]:
        return "refused", tuple(f"refused: {finding.words}" for finding in failed)
    if unsure := [finding for finding in findings if finding.standing == "open"]:
        return "held", tuple(
            f"held for review, as too little was measured to rule out that {finding.words}"
            for finding in unsure
        )
    return "admitted", tuple(
        f"admitted: {finding.words}" for finding in findings if finding.criterion.demand == "shown"
    )
