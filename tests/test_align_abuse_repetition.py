"""The same words over several images: held where others hardly say them, and not where everyone does."""

from __future__ import annotations

import pytest

from align.abuse.config import ScreeningConfig
from align.abuse.repetition import Usage, is_insisted_on, is_widespread

CONFIG = ScreeningConfig(repeated_images=3, repeated_ratio=4.0)


@pytest.mark.parametrize(
    ("num_images", "num_corrections", "num_saying", "num_answers", "expected"),
    [
        (39, 1000, 1, 397, False),  # 3.9 % of corrections, against at most 1 % of answers
        (40, 1000, 1, 397, True),  # 4.0 %: four times as often
        (2, 2, 0, 997, False),  # on two images: could be chance
        (3, 3, 0, 997, True),
        (60, 100, 197, 997, False),  # `the` is inserted often, and said often
        (50, 50, 0, 8, False),  # in none of eight, but it may well be in every fourth
        (50, 50, 0, 9, True),
        (50, 50, 0, 0, False),
    ],
)
def test_a_phrase_is_widespread_where_it_is_inserted_far_more_often_than_said(
    num_images: int, num_corrections: int, num_saying: int, num_answers: int, expected: bool
) -> None:
    assert is_widespread(num_images, num_corrections, Usage(num_saying, num_answers), CONFIG) is expected


@pytest.mark.parametrize(
    ("num_images", "num_corrections", "expected"),
    [
        ([3], [3], True),  # both of the others: 100 % against 2.5 %
        ([3], [21], True),  # 2 of 20: 10 %
        ([3], [22], False),  # 2 of 21
        ([2], [2], False),  # one repeat: could be chance
        ([2, 2], [2, 2], True),  # two repeats, by two sources
        ([2] * 10, [11] * 10, True),  # 10 of 100
        ([1] * 40, [5] * 40, False),  # each once, however many they are
        ([1] * 40, [1] * 40, False),  # nothing is known of those who sent nothing else
        ([2, 2, 1, 1, 1], [5, 5, 5, 5, 5], True),  # 2 of 20
        ([2, 2, 1, 1, 1], [5, 5, 5, 5, 6], False),  # 2 of 21
    ],
)
def test_a_phrase_is_insisted_on_by_its_share_of_the_other_corrections(
    num_images: list[int], num_corrections: list[int], expected: bool
) -> None:
    by_source = {f"s{number}": count for number, count in enumerate(num_images)}
    all_of_them = {f"s{number}": count for number, count in enumerate(num_corrections)}
    assert is_insisted_on(by_source, all_of_them, Usage(2, 197), CONFIG) is expected
