"""Wilson's interval, beside numbers that were worked by hand and what it is defined by."""

from __future__ import annotations

import math

import pytest

from align.wilson import Z, wilson


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [
        # of 100: z^2 = 3.8416, scale = 1.038416, centre = (share + 0.019208) / scale,
        # half = 1.96 * sqrt(share * (1 - share) / 100 + 0.00009604) / scale
        (0, 100, 0.0, 0.036995),  # centre 0.018497, half 0.018497
        (50, 100, 0.403830, 0.596170),  # centre 0.5, half 1.96 * 0.0509513 / 1.038416 = 0.096170
        (100, 100, 0.963005, 1.0),
        (1, 1, 0.206543, 1.0),  # 1 / 4.8416
    ],
)
def test_intervals_worked_by_hand(successes: int, trials: int, low: float, high: float) -> None:
    assert wilson(successes, trials) == pytest.approx((low, high), abs=1e-6)


def test_at_each_end_the_share_that_was_seen_is_z_deviations_away() -> None:
    for end in wilson(7, 40):
        assert abs(7 / 40 - end) == pytest.approx(Z * math.sqrt(end * (1 - end) / 40))
