from __future__ import annotations

import pytest

from align.diagnosis import chosen_fall, margin_quartiles, mean_of_epoch

HISTORY = [
    {"epoch": 1, "loss": 0.6, "logps/chosen_change": 0.0},
    {"epoch": 1, "loss": 0.4, "logps/chosen_change": 0.5},
    {"epoch": 2, "loss": 0.2, "logps/chosen_change": -3.0},
    {"epoch": 2, "loss": 0.2, "logps/chosen_change": 1.0},
]


def test_the_mean_of_an_epoch_is_over_its_steps() -> None:
    assert mean_of_epoch(HISTORY, 1, ["loss"]) == pytest.approx({"loss": 0.5})


def test_a_step_counts_by_its_pairs() -> None:
    history = [
        {"epoch": 1, "loss": 0.6, "logps/chosen_change": 0.5, "num_batch_pairs": 8},
        {"epoch": 1, "loss": 0.0, "logps/chosen_change": -3.0, "num_batch_pairs": 1},
    ]
    assert mean_of_epoch(history, 1, ["loss"]) == pytest.approx({"loss": 4.8 / 9})
    assert chosen_fall(history, 1) is None, "one pair of nine fell"


def test_a_warning_comes_when_the_chosen_answers_are_less_likely_than_at_the_start() -> None:
    assert chosen_fall(HISTORY, 1) is None
    warning = chosen_fall(HISTORY, 2)
    assert warning is not None
    assert "1.00 nats" in warning
    assert "anchor_weight" in warning


def test_each_quarter_of_the_margins_has_its_mean() -> None:
    assert margin_quartiles([8.0, 1.0, 3.0, 2.0, 4.0, 5.0, 6.0, 7.0]) == (1.5, 3.5, 5.5, 7.5)


def test_a_pair_on_the_border_of_two_quarters_counts_in_both_by_its_part() -> None:
    # 6 pairs: a quarter is one and a half of them
    assert margin_quartiles([0.0, 3.0, 6.0, 9.0, 12.0, 15.0]) == (1.0, 5.0, 10.0, 14.0)
    assert margin_quartiles([2.0]) == (2.0, 2.0, 2.0, 2.0)
