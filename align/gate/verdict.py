"""The decision: admitted, refused or held for review, with its reasons in words and numbers. Knows no model.

Fail closed: what is missing, not finite or too little refuses. The candidate must improve on corrections that it
never saw, and must not pay for it elsewhere: a collapsed model makes no mistakes either, since it says nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from ..config import GateConfig
from .bootstrap import Bootstrap, Interval
from .comparison import Comparison, compare
from .criteria import Criterion, criteria
from .figures import FIGURES
from .flaws import flaws
from .headlines import HEADLINES
from .measured import Measurements

Decision = Literal["admitted", "refused", "held"]
Standing = Literal["met", "open", "failed", "not judged"]


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
    findings: tuple[Finding, ...] = ()
    comparisons: dict[str, Comparison] = field(default_factory=dict)
    num_held_out: int = 0
    num_general: int = 0
    num_unfit: int = 0

    @property
    def is_admitted(self) -> bool:
        return self.decision == "admitted"

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def decide(measurements: Measurements, config: GateConfig) -> Verdict:
    """Judge the candidate by `criteria(config)` on all items."""
    numbers = len(measurements.held_out), len(measurements.general), len(measurements.unfit)
    if reasons := flaws(measurements, config):
        return Verdict("refused", tuple(f"refused: {reason}" for reason in reasons), (), {}, *numbers)
    comparisons = compare(measurements, Bootstrap(config.num_resamples, config.confidence, config.seed))
    findings = tuple(_finding(criterion, comparisons) for criterion in criteria(config))
    return Verdict(*_conclusion(findings, comparisons), findings, comparisons, *numbers)


def _finding(criterion: Criterion, comparisons: dict[str, Comparison]) -> Finding:
    """With what was measured and what was needed in words, after the complaint where there is one."""
    comparison = comparisons.get(criterion.figure)
    num_images = comparison.num_images if comparison else 0
    figure = FIGURES[criterion.figure]
    if comparison is None or num_images < criterion.min_images:
        words = f"{figure.title}: {num_images} images say something of it, {criterion.min_images} are needed"
        return Finding(criterion, "not judged", words)
    stands = standing(criterion, comparison.change)
    needed = f"{criterion.comparative} {figure.shown_bound(criterion.bound)} is needed"
    complaint = "" if stands == "met" else f"{criterion.complaint}: "
    return Finding(
        criterion, stands, f"{complaint}{figure.title} {figure.shown(comparison.change)}, {needed}"
    )


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


def _conclusion(
    findings: Sequence[Finding], comparisons: Mapping[str, Comparison]
) -> tuple[Decision, tuple[str, ...]]:
    """A failed criterion refuses, an open one holds. Of several about a figure the first says what is wrong with it."""
    failed: dict[str, str] = {}
    for finding in findings:
        if finding.standing == "failed":
            failed.setdefault(finding.criterion.figure, finding.words)
    if failed:
        return "refused", tuple(f"refused: {words}" for words in failed.values())
    if unsure := [finding for finding in findings if finding.standing == "open"]:
        return "held", tuple(
            f"held for review, as too little was measured to rule out that {finding.words}"
            for finding in unsure
        )
    return "admitted", (f"admitted: {_grounds(comparisons)}",)


def _grounds(comparisons: Mapping[str, Comparison]) -> str:
    """What the candidate does better, as far as that was measured."""
    return "; ".join(
        f"{FIGURES[name].title} {FIGURES[name].shown(comparisons[name].change)}"
        for name in HEADLINES
        if name in comparisons
    )
