"""Confidence intervals of paired figures by the bootstrap, clustered by image. Knows nothing of adapters.

Answers about one image are alike, so whole images are drawn with replacement and not single answers (Field and Welsh,
"Bootstrapping clustered data", 2007); percentile intervals, seeded, so that a decision can be repeated.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Interval:
    estimate: float
    low: float
    high: float


@dataclass(frozen=True)
class Bootstrap:
    num_resamples: int
    confidence: float
    seed: int

    def interval(self, numerators: Floats, denominators: Floats, groups: Sequence[str]) -> Interval:
        """Of sum(numerators) / sum(denominators), both (N,): with denominators of one this is a mean.

        Groups that add nothing to either sum are not drawn. A resample without a denominator, and a numerator that is
        no number, make ends that are no number, which no bound admits.
        """
        names, index = np.unique(np.asarray(groups), return_inverse=True)
        totals = np.zeros((len(names), 2))  # (G, 2)
        np.add.at(totals, index, np.stack([numerators, denominators], axis=1))
        totals = totals[totals.any(axis=1)]
        if not totals[:, 1].any():
            return Interval(np.nan, np.nan, np.nan)
        resampled = _draws(len(totals), self.num_resamples, self.seed) @ totals  # (R, 2)
        tail = (1 - self.confidence) / 2
        with np.errstate(divide="ignore", invalid="ignore"):
            low, high = np.quantile(resampled[:, 0] / resampled[:, 1], [tail, 1 - tail])
        return Interval(float(totals[:, 0].sum() / totals[:, 1].sum()), float(low), float(high))


@lru_cache(maxsize=8)
def _draws(num_groups: int, num_resamples: int, seed: int) -> Floats:
    """How often each group is drawn: (R, G). The same for every figure over as many groups."""
    generator = np.random.default_rng(seed)
    return generator.multinomial(num_groups, np.full(num_groups, 1 / num_groups), num_resamples).astype(float)
