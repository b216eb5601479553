"""The sequential test: rarely wrong however often it is looked at, and quick where a version is clearly worse."""

from __future__ import annotations

import math
from itertools import accumulate

import numpy as np
import pytest

from serve.evidence import ODDS_RATIOS, evidence

NUM_RUNS = 1000


def crossings(
    candidate: float, other: float, per_block: int, threshold: float, num_blocks: int = 500
) -> float:
    """The share of runs in which the evidence reaches the threshold at any of `num_blocks` looks."""
    rng = np.random.default_rng(0)
    reached = 0
    for _ in range(NUM_RUNS):
        failed = list(rng.random(num_blocks) < candidate)
        failed_others = list(rng.random(num_blocks * per_block) < other)
        reached += evidence(failed, failed_others, per_block) >= threshold
    return reached / NUM_RUNS


@pytest.mark.parametrize("rate", [0.01, 0.1, 0.5])
@pytest.mark.parametrize("per_block", [1, 9])
def test_versions_that_fail_equally_often_are_rarely_told_apart_though_looked_at_after_every_block(
    rate: float, per_block: int
) -> None:
    three_deviations = 3 * math.sqrt(0.05 * 0.95 / NUM_RUNS)
    assert crossings(rate, rate, per_block, threshold=1 / 0.05) <= 0.05 + three_deviations


def test_rates_that_drift_together_are_no_evidence() -> None:
    """From 1 % of the answers to 41 %, as when other people come: equal at any time, though not over time."""
    rng = np.random.default_rng(1)
    reached = 0
    for _ in range(NUM_RUNS):
        rates = np.linspace(0.01, 0.41, 500)
        failed = list(rng.random(500) < rates)
        failed_others = list(rng.random(4500) < np.repeat(rates, 9))
        reached += evidence(failed, failed_others, 9) >= 20
    assert reached / NUM_RUNS <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / NUM_RUNS)


def test_a_version_that_fails_less_often_is_no_evidence_against_itself() -> None:
    assert crossings(0.05, 0.1, 9, threshold=1 / 0.05) <= 0.01


def test_a_version_that_fails_twice_as_often_is_found() -> None:
    assert crossings(0.2, 0.1, 9, threshold=1 / 0.005) >= 0.95


def test_a_version_that_always_fails_is_found_within_a_few_answers() -> None:
    assert evidence([True] * 5, [False] * 45, 9) >= 200
    assert evidence([True] * 2, [False] * 18, 9) < 200, "two are too few"


def test_evidence_is_the_largest_so_far_and_later_outcomes_do_not_take_it_back() -> None:
    bad = [True] * 6
    assert evidence([*bad, *[False] * 300], [False] * 9 * 306, 9) == evidence(bad, [False] * 54, 9)
    values = [evidence(bad[:n], [False] * 9 * n, 9) for n in range(7)]
    assert values == list(accumulate(values, max))


def test_a_block_counts_when_it_is_full() -> None:
    assert evidence([], [], 9) == 1.0
    assert evidence([True], [False] * 8, 9) == 1.0
    assert evidence([True], [False] * 9, 9) > 1.0
    assert evidence([True], [False] * 100, 9) == evidence([True, True], [False] * 17, 9)


def test_the_first_block_by_hand() -> None:
    """Before any outcome the other fails half the time, the candidate w / (1 + w) of it for each odds ratio w."""
    values = []
    for odds in ODDS_RATIOS:
        p_a, p_b = odds / (1 + odds), 0.5
        p_0 = (p_a + p_b) / 2
        values.append(p_a * (1 - p_b) / (p_0 * (1 - p_0)))
    assert evidence([True], [False], 1) == pytest.approx(sum(values) / len(values))
