"""Whether what was measured again and again stays as it is: pure functions of (seconds, value). Knows no server."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist, fmean
from typing import Any

WARM = (1 / 12, 3 / 12)
"""Of the whole time: minutes 5 to 15 of an hour. Before it, caches and allocators still grow to their size."""
LAST = (5 / 6, 1.0)
"""Its last ten minutes."""
NORMAL_975 = NormalDist().inv_cdf(0.975)

Points = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Bound:
    """How far the end may be from the beginning: by a share of it or by an amount, whichever is more."""

    share: float
    amount: float = 0.0
    is_lower: bool = False  # it may not fall by more; else, it may not rise


@dataclass(frozen=True)
class Trend:
    before: float  # mean while warm
    after: float  # mean in the end
    slope: float  # per hour, once warm
    margin: float  # half of its 95 % interval

    @property
    def ratio(self) -> float:
        return self.after / self.before if self.before else math.nan

    @property
    def is_rising(self) -> bool:
        """Surely, however little."""
        return self.slope > self.margin

    def is_flat(self, bound: Bound) -> bool:
        change = self.before - self.after if bound.is_lower else self.after - self.before
        return change <= max(bound.share * abs(self.before), bound.amount)

    def to_json(self) -> dict[str, Any]:
        return {
            "before": self.before,
            "after": self.after,
            "ratio": None if math.isnan(self.ratio) else self.ratio,
            "slope_per_hour": None if math.isnan(self.slope) else self.slope,
            "slope_interval": None
            if math.isnan(self.margin)
            else [self.slope - self.margin, self.slope + self.margin],
        }


def trend(points: Points, duration_s: float) -> Trend | None:
    """None where it was not looked at both while warm and in the end."""
    before, after = _within(points, WARM, duration_s), _within(points, LAST, duration_s)
    if not before or not after:
        return None
    since_warm = [(at, value) for at, value in points if at >= WARM[0] * duration_s]
    return Trend(fmean(before), fmean(after), *slope(since_warm))


def slope(points: Points) -> tuple[float, float]:
    """Per hour, by ordinary least squares, with half of its 95 % interval.

    The interval takes the deviations for independent and normal. Those of neighbours are not independent, so it is
    rather too narrow. NaN with fewer than three points.
    """
    if len(points) < 3:
        return math.nan, math.nan
    hours, values = [at / 3600 for at, _ in points], [value for _, value in points]
    hour, mean = fmean(hours), fmean(values)
    spread = sum((one - hour) ** 2 for one in hours)
    rise = sum((one - hour) * (value - mean) for one, value in zip(hours, values, strict=True)) / spread
    deviations = ((value - mean - rise * (one - hour)) ** 2 for one, value in zip(hours, values, strict=True))
    error = math.sqrt(sum(deviations) / (len(points) - 2) / spread)
    return rise, NORMAL_975 * error


def _within(points: Points, part: tuple[float, float], duration_s: float) -> list[float]:
    first, last = (share * duration_s for share in part)
    return [value for at, value in points if first <= at <= last]
