from __future__ import annotations

import math
import random
from typing import Any

import pytest
import torch
from transformers.generation.logits_process import (
    LogitsProcessorList,
    MinPLogitsWarper,
    SequenceBiasLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from serve.engine.cuts import cut
from serve.engine.protocol import Sampling
from serve.engine.sampling import Row, sample

LOGITS = torch.tensor([[0.0, 2.0, 1.0, -1.0]])
PROBABILITIES = torch.softmax(LOGITS, dim=-1)[0].tolist()


def row(temperature: float, draw: float = 0.5, adjustments: Any = None, **sampling: Any) -> Row:
    return Row(Sampling(1, temperature, **sampling), draw, adjustments or {})


def shares(
    logits: torch.Tensor,
    temperature: float = 1.0,
    count: int = 20_000,
    adjustments: Any = None,
    **sampling: Any,
) -> list[float]:
    """How often each token of a one-row `logits` is drawn, over an even grid of draws."""
    rows = [row(temperature, (number + 0.5) / count, adjustments, **sampling) for number in range(count)]
    token_ids = sample(logits.expand(count, -1), rows)
    return [token_ids.count(token_id) / count for token_id in range(logits.shape[1])]


def test_temperature_zero_takes_the_likeliest() -> None:
    assert sample(LOGITS, [row(0.0, 0.99)]) == [1]
    assert sample(LOGITS, [row(1e-30, 0.99)]) == [1]


def test_tokens_are_drawn_with_their_probabilities() -> None:
    assert shares(LOGITS) == pytest.approx(PROBABILITIES, abs=1e-3)


def test_temperature_divides_the_logits() -> None:
    assert shares(LOGITS, 0.5) == pytest.approx(torch.softmax(LOGITS * 2, -1)[0].tolist(), abs=1e-3)


def test_top_p_keeps_the_smallest_set_that_reaches_it() -> None:
    first, second = PROBABILITIES[1], PROBABILITIES[2]
    total = first + second
    assert shares(LOGITS, top_p=first + 0.01) == pytest.approx(
        [0, first / total, second / total, 0], abs=1e-3
    )
    assert shares(LOGITS, top_p=first - 0.01) == [0, 1, 0, 0]
    assert shares(LOGITS, top_p=0.0) == [0, 1, 0, 0]


def test_top_p_cuts_only_what_is_needed_among_equals() -> None:
    assert shares(torch.zeros(1, 4), top_p=0.5) == [0.5, 0.5, 0, 0]


def test_tokens_without_probability_are_never_drawn() -> None:
    logits = torch.tensor([[-math.inf, 0.0, -math.inf]])
    draws = (0.0, 0.5, math.nextafter(1.0, 0.0))
    assert sample(logits.expand(3, -1), [row(1.0, draw) for draw in draws]) == [1, 1, 1]


def test_top_k_keeps_the_likeliest_and_of_equals_the_first() -> None:
    first, second = PROBABILITIES[1], PROBABILITIES[2]
    total = first + second
    assert shares(LOGITS, top_k=2) == pytest.approx([0, first / total, second / total, 0], abs=1e-3)
    assert shares(LOGITS, top_k=99) == shares(LOGITS)
    assert shares(torch.zeros(1, 4), top_k=2) == [0.5, 0.5, 0, 0]


def test_min_p_keeps_what_has_that_share_of_the_likeliest() -> None:
    # e^0, e^2, e^1, e^-1 over e^2: 0.135, 1, 0.368, 0.050
    total = sum(PROBABILITIES[:3])
    expected = [PROBABILITIES[0] / total, PROBABILITIES[1] / total, PROBABILITIES[2] / total, 0]
    assert shares(LOGITS, min_p=0.1) == pytest.approx(expected, abs=1e-3)
    assert shares(LOGITS, min_p=0.4) == [0, 1, 0, 0]
    assert shares(LOGITS, min_p=1.0) == [0, 1, 0, 0]


def test_top_p_is_a_share_of_what_top_k_has_left() -> None:
    # the two likeliest are 0.731 and 0.269 of themselves, but 0.644 and 0.237 of all
    assert shares(LOGITS, top_k=2, top_p=0.7) == [0, 1, 0, 0]
    assert shares(LOGITS, top_p=0.7)[2] > 0.2


@pytest.mark.parametrize("seed", range(6))
def test_the_distribution_is_that_of_transformers_own_processors(seed: int) -> None:
    numbers = random.Random(seed)
    torch.manual_seed(seed)
    logits = torch.randn(1, 40) * 2
    temperature = numbers.choice([0.5, 1.0, 1.7])
    top_k, top_p = numbers.choice([3, 20, 40]), numbers.choice([0.5, 0.9, 0.99])
    min_p, bias = numbers.choice([0.01, 0.2]), {numbers.randrange(40): 3.0, numbers.randrange(40): -100.0}
    processors = LogitsProcessorList(
        [
            SequenceBiasLogitsProcessor({(token_id,): amount for token_id, amount in bias.items()}),
            TemperatureLogitsWarper(temperature),
            TopKLogitsWarper(top_k),
            TopPLogitsWarper(top_p),
            MinPLogitsWarper(min_p),
        ]
    )
    processed = processors(torch.zeros(1, 1, dtype=torch.long), logits)
    ours = shares(logits, temperature, adjustments=bias, top_k=top_k, top_p=top_p, min_p=min_p)
    assert ours == pytest.approx(torch.softmax(processed, -1)[0].tolist(), abs=1e-4)


@pytest.mark.parametrize("seed", range(8))
def test_the_cuts_of_a_large_vocabulary_are_transformers_own(seed: int) -> None:
    """Peaked rows are cut among the likeliest, flat ones only far down; all in one batch."""
    numbers = random.Random(seed)
    torch.manual_seed(seed)
    samplings = [
        Sampling(
            1,
            top_k=numbers.choice([0, 5, 256, 257, 600, 2_000]),
            top_p=numbers.choice([0.2, 0.9, 0.999, 1.0]),
            min_p=numbers.choice([0.0, 0.001, 0.3]),
        )
        for _ in range(12)
    ]
    logits = torch.randn(12, 1_000) * torch.tensor([[numbers.choice([0.1, 1.0, 4.0])] for _ in samplings])
    ours = cut(torch.softmax(logits, -1), samplings)
    for row, sampling in enumerate(samplings):
        processors = [TopKLogitsWarper(sampling.top_k)] if sampling.top_k else []
        processors += [TopPLogitsWarper(sampling.top_p)] if sampling.top_p < 1 else []
        processors += [MinPLogitsWarper(sampling.min_p)] if sampling.min_p else []
        processed = LogitsProcessorList(processors)(
            torch.zeros(1, 1, dtype=torch.long), logits[row : row + 1]
        )
        expected = processed[0].isfinite()
        # the token at which top-p is reached may be another one by rounding
        assert int((expected ^ (ours[row] > 0)).sum()) <= (sampling.top_p < 1)


def test_of_equals_the_first_stay_also_among_many() -> None:
    equal = torch.full((2, 1_000), 1e-3)
    equal[1, 700] = 2e-3
    kept = cut(equal, [Sampling(1, top_k=300), Sampling(1, top_k=3)])
    assert kept[0].nonzero().flatten().tolist() == list(range(300))
    assert kept[1].nonzero().flatten().tolist() == [0, 1, 700]


def test_draws_invert_the_cumulative_distribution_of_a_large_vocabulary() -> None:
    torch.manual_seed(0)
    logits = torch.randn(1, 1_000).double() * 3
    logits[0, 300:600] = -math.inf
    cumulative = torch.softmax(logits.float(), -1)[0].double().cumsum(0)
    draws = [0.0, *((number + 0.5) / 400 for number in range(400)), math.nextafter(1.0, 0.0)]
    token_ids = sample(logits.float().expand(len(draws), -1), [row(1.0, draw) for draw in draws])
    expected = torch.searchsorted(cumulative, torch.tensor(draws).double() * cumulative[-1], right=True)
    differing = [(a, b) for a, b in zip(token_ids, expected.tolist(), strict=True) if a != b]
    assert len(differing) <= 1  # by rounding, at an edge
    assert not any(300 <= (token_id or 0) < 600 for token_id in token_ids)


def test_adjustments_are_added_before_the_choice_greedy_or_drawn() -> None:
    assert sample(LOGITS, [row(0.0, adjustments={1: -1.5})]) == [2]
    assert sample(LOGITS, [row(0.0, adjustments={3: 3.5, 1: -0.1})]) == [3]
    moved = torch.tensor([[0.0, 2.0, 1.5, -1.0]])
    assert shares(LOGITS, adjustments={2: 0.5}) == shares(moved)
    assert LOGITS.tolist() == [[0.0, 2.0, 1.0, -1.0]], "the model's own logits stay as they are"


def test_a_row_is_chosen_alike_alone_and_in_any_batch() -> None:
    numbers = random.Random(0)
    torch.manual_seed(0)
    logits = torch.randn(48, 700) * 3
    rows = [
        row(
            numbers.choice([0.0, 0.5, 1.0]),
            numbers.random(),
            numbers.choice([None, {numbers.randrange(700): 4.0}]),
            top_p=numbers.choice([0.6, 1.0]),
            top_k=numbers.choice([0, 5]),
            min_p=numbers.choice([0.0, 0.1]),
        )
        for _ in range(48)
    ]
    alone = [sample(logits[index : index + 1], [row])[0] for index, row in enumerate(rows)]
    assert sample(logits, rows) == alone
    assert sample(logits.flip(0), rows[::-1]) == alone[::-1]


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_rows_that_are_not_finite_give_no_token_and_leave_the_others_alone(temperature: float) -> None:
    good = LOGITS[0]
    logits = torch.stack([good, good.clone().fill_(math.nan), good, good.clone(), good])
    logits[3, 2] = math.inf
    rows = [row(temperature, 0.3, top_p=0.9)] * 5
    [alone] = sample(LOGITS, rows[:1])
    assert alone is not None
    assert sample(logits, rows) == [alone, None, alone, None, alone]
