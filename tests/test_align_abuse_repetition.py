"""The same words over several images: held where others hardly say them, and not where everyone does."""

from __future__ import annotations

import pytest

from align.abuse.config import ScreeningConfig
from align.abuse.repetition import Usage, repeated_phrases

CONFIG = ScreeningConfig(repeated_images=3, repeated_ratio=5.0)


def is_repeated(num_images: int, num_corrections: int, num_saying: int, num_answers: int) -> bool:
    usage = {"acme": Usage(num_saying, num_answers)}
    return repeated_phrases({"acme": num_images}, num_corrections, usage, CONFIG) == {"acme"}


@pytest.mark.parametrize(
    ("num_images", "num_corrections", "num_saying", "num_answers", "expected"),
    [
        (20, 20, 3, 399, True),  # every correction of a source, one answer of a hundred
        (20, 420, 3, 399, False),  # 4.8 % against 1 %
        (21, 420, 3, 399, True),  # 5.0 %: five times as often
        (2, 2, 0, 999, False),  # on two images: could be chance
        (3, 3, 0, 999, True),
        (60, 100, 150, 999, False),  # `the` is inserted often, and said often
        (50, 50, 0, 3, False),  # of three answers nothing follows: at most 4 times as often
        (50, 50, 0, 4, True),
        (50, 50, 0, 0, False),
    ],
)
def test_a_phrase_is_repeated_where_it_is_inserted_far_more_often_than_said(
    num_images: int, num_corrections: int, num_saying: int, num_answers: int, expected: bool
) -> None:
    assert is_repeated(num_images, num_corrections, num_saying, num_answers) is expected


def test_each_phrase_is_judged_by_itself() -> None:
    usage = {"acme": Usage(0, 99), "a": Usage(80, 99), "acme cola": Usage(0, 99)}
    counts = {"acme": 4, "a": 6, "acme cola": 2}
    assert repeated_phrases(counts, 10, usage, CONFIG) == {"acme"}
