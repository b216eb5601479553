"""Counts of answers as figures with 95 % intervals. Pure functions of arrays; knows nothing of models.

Intervals resample the scenes and, where there are several, the seeds: each seed has its own corrections and its own
first weights, so the figures are about the recipe and not about one lucky run of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from align.scenes.score import CLAIM_KINDS

from .answers import COLUMNS, Answers

NUM_RESAMPLES = 2000
INDEX = {name: position for position, name in enumerate(COLUMNS)}
Figures = dict[str, Any]
"""Each figure under its name, and its interval under the name with `_interval`."""


def figures(of: Sequence[Answers], base: Answers | None = None) -> Figures:
    """Of one recipe, one entry a seed, all about the same scenes as the base's.

    `segments` are wrong claims per 100 answers. `over_generalisation` is how much more often an object is invented
    where it is typical than elsewhere, in points, given that it is absent. `*_of_base` are ratios to the base's own
    figure.
    """
    totals = _resampled(of)
    result: Figures = {"num_seeds": len(of)}
    for name, figure in _FIGURES.items():
        result |= _entry(name, figure(totals))
    if base is not None:
        of_base = _resampled([base] * len(of))  # by the same draws of scenes
        for name in ("hallucinated", "coverage"):
            result |= _entry(f"{name}_of_base", _over(_FIGURES[name](totals), _FIGURES[name](of_base)))
    result["segments"] = {}
    for kind in CLAIM_KINDS:
        result["segments"] |= _entry(kind, 100 * totals[kind] / totals["answers"])
    return result


Totals = dict[str, np.ndarray]
"""Sums over the answers by column, (1 + resamples,): the first is the figure itself."""


def _over(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Their ratio; no number where a resample happens to hold nothing to divide by."""
    result = np.full_like(part, np.nan)
    np.divide(part, whole, out=result, where=whole > 0)
    return result


def _over_generalisation(of: Totals) -> np.ndarray:
    points: np.ndarray = 100 * _over(of["invented_typical"], of["absent_typical"])
    points -= 100 * _over(of["invented_elsewhere"], of["absent_elsewhere"])
    return points


_FIGURES: dict[str, Callable[[Totals], np.ndarray]] = {
    "hallucinated": lambda of: _over(of["hallucinated"], of["answers"]),
    "coverage": lambda of: _over(of["coverage"], of["answers"]),
    "words": lambda of: _over(of["words"], of["answers"]),
    "unreadable": lambda of: _over(of["unreadable"], of["answers"]),
    "chair_i": lambda of: _over(of["object"], of["mentions"]),
    "over_generalisation": _over_generalisation,
    "yes_no_accuracy": lambda of: _over(of["right_yes_no"], of["yes_no"]),
}


def _resampled(of: Sequence[Answers]) -> Totals:
    table = np.stack([_table(answers) for answers in of])  # (seeds, scenes, columns)
    num_seeds, num_scenes, _ = table.shape
    rng = np.random.default_rng(0)
    scenes = rng.multinomial(num_scenes, np.full(num_scenes, 1 / num_scenes), NUM_RESAMPLES)
    seeds = rng.multinomial(num_seeds, np.full(num_seeds, 1 / num_seeds), NUM_RESAMPLES)
    by_seed = np.einsum(
        "rn,snc->rsc", scenes.astype(float), table, optimize=True
    )  # (resamples, seeds, columns)
    sums = np.vstack([table.sum((0, 1)), np.einsum("rs,rsc->rc", seeds, by_seed)])
    return dict(zip(_NAMES, sums.T, strict=True))


_NAMES = (*COLUMNS, "answers", "hallucinated", "coverage", "yes_no", "right_yes_no")


def _table(answers: Answers) -> np.ndarray:
    """(scenes, names) with the columns that follow from others."""
    counts = answers.counts.astype(float)
    is_hallucinated = counts[:, : len(CLAIM_KINDS)].sum(1) > 0
    coverage = counts[:, INDEX["covered"]] / counts[:, INDEX["objects"]]
    derived = (
        np.ones(len(counts)), is_hallucinated, coverage, answers.is_yes_no, answers.is_yes_no & answers.is_right
    )  # fmt: skip
    return np.column_stack([counts, *derived])


def _entry(name: str, values: np.ndarray) -> Figures:
    low, high = np.nanquantile(values[1:], (0.025, 0.975))
    return {
        name: round(float(values[0]), 4),
        f"{name}_interval": [round(float(low), 4), round(float(high), 4)],
    }
