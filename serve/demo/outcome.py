"""What the demo found, as figures: before and after on the same scenes. Knows nothing of servers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from align.scenes.evaluate import Estimate, Figures, measure
from align.scenes.score import score
from align.scenes.world import Scene

NUM_RESAMPLES = 2000


@dataclass(frozen=True)
class Change:
    """After against before on the same scenes, with paired 95 % bootstrap intervals."""

    hallucinated: Estimate  # difference of the shares
    hallucinated_relative: float  # that difference over the share before
    coverage_ratio: Estimate  # after over before


@dataclass(frozen=True)
class Outcome:
    before: Figures
    after: Figures
    change: Change
    num_corrections: int
    verdict: str  # admitted | refused | held | failed
    reasons: str
    adapter: str
    num_requests: int
    failures: tuple[str, ...]
    num_requests_during_swap: int
    num_failed_during_swap: int
    seconds: dict[str, float] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return {
            "before": _flat(self.before),
            "after": _flat(self.after),
            "change": asdict(self.change),
            "corrections": self.num_corrections,
            "gate": {"verdict": self.verdict, "reasons": self.reasons},
            "adapter": {"version": self.adapter},
            "requests": {
                "total": self.num_requests,
                "failed": len(self.failures),
                "failures": list(self.failures[:20]),
                "during_swap": self.num_requests_during_swap,
                "failed_during_swap": self.num_failed_during_swap,
            },
            "seconds": {name: round(value, 1) for name, value in self.seconds.items()},
        }


def compare(
    before: Sequence[str], after: Sequence[str], scenes: Sequence[Scene]
) -> tuple[Figures, Figures, Change]:
    return measure(before, scenes), measure(after, scenes), _change(before, after, scenes)


def _change(before: Sequence[str], after: Sequence[str], scenes: Sequence[Scene]) -> Change:
    def table(answers: Sequence[str]) -> np.ndarray[Any, np.dtype[np.float64]]:  # (scenes, 2)
        scores = [score(answer, scene) for answer, scene in zip(answers, scenes, strict=True)]
        return np.array([[one.is_hallucinated, one.coverage] for one in scores], dtype=float)

    both = np.concatenate([table(before), table(after)], axis=1)  # (scenes, 4)
    generator = np.random.default_rng(0)
    weights = generator.multinomial(len(scenes), [1 / len(scenes)] * len(scenes), NUM_RESAMPLES)
    means = np.vstack([both.mean(0), weights @ both / len(scenes)])  # (1 + resamples, 4)
    difference = means[:, 2] - means[:, 0]
    ratio = means[:, 3] / np.maximum(means[:, 1], 1e-9)
    relative = float(difference[0] / means[0, 0]) if means[0, 0] else 0.0
    return Change(_estimate(difference), round(relative, 4), _estimate(ratio))


def _estimate(values: np.ndarray[Any, np.dtype[np.float64]]) -> Estimate:
    """The first value is the figure, the others are its resamples."""
    low, high = np.quantile(values[1:], (0.025, 0.975))
    return Estimate(round(float(values[0]), 4), round(float(low), 4), round(float(high), 4))


def _flat(figures: Figures) -> dict[str, Any]:
    """Each figure under its name, and its interval beside it."""

    def flat(name: str, estimate: Estimate) -> dict[str, Any]:
        return {name: estimate.value, f"{name}_interval": [estimate.low, estimate.high]}

    result: dict[str, Any] = {"answers": figures.num_answers}
    for name in ("hallucinated", "chair_i", "coverage", "words", "unreadable"):
        result |= flat(name, getattr(figures, name))
    result["wrong"] = {kind: flat("share", estimate) for kind, estimate in figures.wrong.items()}
    return result
