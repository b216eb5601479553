"""Live adapter and candidate side by side in every figure, with the paired interval of the change. Judges none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .bootstrap import Bootstrap, Floats, Interval
from .figures import GENERAL, HELD_OUT, TRUTH, Figure
from .measured import ItemMeasurement, Measurements


@dataclass(frozen=True)
class Comparison:
    """The means of both, and their `change` as the figure's form says. Images are those that say something of it."""

    live: float
    candidate: float
    change: Interval
    num_images: int


def compare(measurements: Measurements, bootstrap: Bootstrap) -> dict[str, Comparison]:
    """Every figure of which some item says something, by name."""
    sets = (
        (HELD_OUT, measurements.held_out),
        (GENERAL, measurements.general),
        (TRUTH, (*measurements.held_out, *measurements.general)),
    )
    return {
        figure.name: _compared(figure, telling, bootstrap)
        for figures, items in sets
        for figure in figures
        if (telling := [item for item in items if figure.of(item.live)[1]])
    }


def _compared(figure: Figure, items: Sequence[ItemMeasurement], bootstrap: Bootstrap) -> Comparison:
    live = np.array([figure.of(item.live) for item in items], dtype=float)  # (N, 2)
    candidate = np.array([figure.of(item.candidate) for item in items], dtype=float)  # (N, 2)
    numerators, denominators = {
        "difference": (candidate[:, 0] - live[:, 0], live[:, 1]),
        "ratio": (candidate[:, 0], live[:, 0]),
        "level": (candidate[:, 0], candidate[:, 1]),
    }[figure.form]
    groups = [item.group for item in items]
    change = bootstrap.interval(numerators, denominators, groups)
    return Comparison(_mean(live), _mean(candidate), change, len(set(groups)))


def _mean(fractions: Floats) -> float:
    numerator, denominator = fractions.sum(0)
    return float(numerator / denominator)
