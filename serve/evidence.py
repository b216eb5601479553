"""How strongly outcomes say that one version fails more often than another, valid however often one looks.

A pure function of what happened, in order. Knows nothing of rollouts, nor of what a failure is.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

ODDS_RATIOS = (1.5, 2.0, 4.0, 8.0)
"""How much worse a version may be: evidence against equality is the mean of that for each of these."""


def evidence(candidate: Sequence[bool], other: Sequence[bool], per_block: int) -> float:
    """The largest e-value reached, from failures (True) in the order in which they became known.

    Blocks of one outcome of the candidate's and `per_block` of the other's are multiplied up; those that are not full
    wait. While the candidate fails no more often than the other, whatever their rates and however they drift together,
    the chance that this ever reaches 1 / alpha is at most alpha: look as often as you like. Turner, Ly and Grünwald,
    "Generic E-variables for exact sequential k-sample tests that allow for optional stopping" (arXiv 2106.02693);
    the rates that a block is judged with are fixed by the blocks before it.
    """
    num_blocks = min(len(candidate), len(other) // per_block)
    if num_blocks == 0:
        return 1.0
    failed = np.asarray(candidate[:num_blocks], dtype=float)  # (N,)
    failed_others = (
        np.asarray(other[: num_blocks * per_block], dtype=float).reshape(num_blocks, -1).sum(1)
    )  # (N,)
    log_values = np.stack(
        [_log_values(failed, failed_others, per_block, odds) for odds in ODDS_RATIOS]
    )  # (R, N)
    log_means = np.logaddexp.reduce(log_values, axis=0) - np.log(len(ODDS_RATIOS))
    return float(np.exp(min(700.0, max(0.0, log_means.max()))))


def _log_values(
    failed: NDArray[np.float64], failed_others: NDArray[np.float64], per_block: int, odds_ratio: float
) -> NDArray[np.float64]:
    """After each block, the logarithm of the product of S = prod p_a(y_a) p_b(y_b) / (p_0(y_a) p_0(y_b)).

    p_b is the other's rate so far, p_a what it would be at `odds_ratio` times the odds, p_0 their mean over the block.
    """
    before = np.concatenate([[0.0], failed_others.cumsum()[:-1]])
    num_before = per_block * np.arange(len(failed))
    p_b = (before + 0.5) / (num_before + 1.0)  # Jeffreys' prior
    p_a = odds_ratio * p_b / (1 - p_b + odds_ratio * p_b)
    p_0 = (p_a + per_block * p_b) / (1 + per_block)
    own = np.where(failed > 0, np.log(p_a / p_0), np.log((1 - p_a) / (1 - p_0)))
    others = failed_others * np.log(p_b / p_0) + (per_block - failed_others) * np.log((1 - p_b) / (1 - p_0))
    values: NDArray[np.float64] = (own + others).cumsum()
    return values
