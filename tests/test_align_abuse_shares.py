"""How much of a training set one source and the ten largest may bring; worked by hand."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from align.abuse.config import SourceShares
from align.abuse.shares import most_per_source, over_share

SHARES = SourceShares(one=0.1, top_ten=0.3)


@pytest.mark.parametrize(
    ("counts", "most"),
    [
        ([], 0),
        ([400], 400),  # one source alone is all there is
        ([100] + [1] * 18, 100),  # 19 sources: too few to ask for 10 %
        ([100] + [1] * 19, 2),  # 20: 2 of 21 is less than 10 %, 3 of 22 is more
        ([100] + [10] * 29, 32),  # 32 of 322 is less than 10 %, 33 of 323 is more
        ([10] * 66, 10),
        ([10] * 67, 10),  # the ten bring 100 of 670: 15 %
        ([40] * 10 + [4] * 57, 9),  # 90 of 318 is less than 30 %, 100 of 328 is more
        ([1] * 1000, 1),
    ],
)
def test_the_largest_number_that_keeps_both_shares(counts: list[int], most: int) -> None:
    assert most_per_source(counts, 0, SHARES) == most


@given(st.lists(st.integers(1, 60), min_size=20, max_size=120))
def test_no_share_is_exceeded_and_one_more_would_exceed_it(counts: list[int]) -> None:
    def holds(limit: int) -> bool:
        kept = sorted((min(count, limit) for count in counts), reverse=True)
        is_top_fair = len(counts) < 67 or sum(kept[:10]) <= 0.3 * sum(kept)
        return kept[0] <= 0.1 * sum(kept) and is_top_fair

    most = most_per_source(counts, 0, SHARES)
    assert holds(most)
    assert most == max(counts) or not holds(most + 1)


def test_reviewed_corrections_are_part_of_the_whole_and_nobody_s_share() -> None:
    counts = [100] + [1] * 19
    assert most_per_source(counts, 71, SHARES) == 10  # 10 of 100, where 11 of 101 is more
    assert most_per_source(counts, 10_000, SHARES) == 100


def test_shares_of_one_leave_nothing_out() -> None:
    sources = {f"c{number}": "big" if number < 90 else f"s{number}" for number in range(200)}
    assert over_share(sources, 0, SourceShares(one=1.0, top_ten=1.0)) == frozenset()


def test_what_is_over_share_depends_on_ids_alone() -> None:
    sources = {f"c{number}": "big" if number < 50 else f"s{number % 40}" for number in range(130)}
    gone = over_share(sources, 0, SHARES)
    assert gone
    assert {sources[correction_id] for correction_id in gone} == {"big"}
    assert over_share(dict(reversed(sources.items())), 0, SHARES) == gone
    kept = Counter(source for correction_id, source in sources.items() if correction_id not in gone)
    assert kept["big"] == most_per_source(Counter(sources.values()).values(), 0, SHARES)
