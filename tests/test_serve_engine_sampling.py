from __future__ import annotations

import math
import random

import pytest
import torch

from serve.engine.sampling import Row, sample

LOGITS = torch.tensor([[0.0, 2.0, 1.0, -1.0]])
PROBABILITIES = torch.softmax(LOGITS, dim=-1)[0].tolist()


def shares(logits: torch.Tensor, temperature: float, top_p: float, count: int = 20_000) -> list[float]:
    """How often each token of a one-row `logits` is drawn, over an even grid of draws."""
    rows = [Row(temperature, top_p, (number + 0.5) / count) for number in range(count)]
    token_ids = sample(logits.expand(count, -1), rows)
    return [token_ids.count(token_id) / count for token_id in range(logits.shape[1])]


def test_temperature_zero_takes_the_likeliest() -> None:
    assert sample(LOGITS, [Row(0.0, 1.0, 0.99)]) == [1]
    assert sample(LOGITS, [Row(1e-30, 1.0, 0.99)]) == [1]


def test_tokens_are_drawn_with_their_probabilities() -> None:
    assert shares(LOGITS, 1.0, 1.0) == pytest.approx(PROBABILITIES, abs=1e-3)


def test_temperature_divides_the_logits() -> None:
    assert shares(LOGITS, 0.5, 1.0) == pytest.approx(torch.softmax(LOGITS * 2, -1)[0].tolist(), abs=1e-3)


def test_top_p_keeps_the_smallest_set_that_reaches_it() -> None:
    first, second = PROBABILITIES[1], PROBABILITIES[2]
    total = first + second
    assert shares(LOGITS, 1.0, first + 0.01) == pytest.approx([0, first / total, second / total, 0], abs=1e-3)
    assert shares(LOGITS, 1.0, first - 0.01) == [0, 1, 0, 0]
    assert shares(LOGITS, 1.0, 0.0) == [0, 1, 0, 0]


def test_top_p_cuts_only_what_is_needed_among_equals() -> None:
    assert shares(torch.zeros(1, 4), 1.0, 0.5) == [0.5, 0.5, 0, 0]


def test_tokens_without_probability_are_never_drawn() -> None:
    logits = torch.tensor([[-math.inf, 0.0, -math.inf]])
    draws = (0.0, 0.5, math.nextafter(1.0, 0.0))
    assert sample(logits.expand(3, -1), [Row(1.0, 1.0, draw) for draw in draws]) == [1, 1, 1]


def test_a_row_is_chosen_alike_alone_and_in_any_batch() -> None:
    numbers = random.Random(0)
    torch.manual_seed(0)
    logits = torch.randn(24, 50) * 3
    rows = [
        Row(numbers.choice([0.0, 0.5, 1.0]), numbers.choice([0.6, 1.0]), numbers.random()) for _ in range(24)
    ]
    alone = [sample(logits[index : index + 1], [row])[0] for index, row in enumerate(rows)]
    assert sample(logits, rows) == alone
    assert sample(logits.flip(0), rows[::-1]) == alone[::-1]


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_rows_that_are_not_finite_give_no_token_and_leave_the_others_alone(temperature: float) -> None:
    good = LOGITS[0]
    logits = torch.stack([good, good.clone().fill_(math.nan), good, good.clone(), good])
    logits[3, 2] = math.inf
    rows = [Row(temperature, 0.9, 0.3)] * 5
    [alone] = sample(LOGITS, rows[:1])
    assert alone is not None
    assert sample(logits, rows) == [alone, None, alone, None, alone]
