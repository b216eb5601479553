from __future__ import annotations

import pytest

from align.config import ObjectiveConfig, TrainingConfig
from align.pairs import Answer, Pair
from align.scenes import MODEL_PATH
from benchmarks.pull import classes, num_common, prepared_run, pull


def answer(*tokens: tuple[int, int]) -> Answer:
    """Token ids, each with 1 where it was corrected."""
    return Answer(tuple(token for token, _ in tokens), tuple(bool(flag) for _, flag in tokens))


def test_tokens_are_told_apart_by_what_a_correction_made_of_them() -> None:
    rejected = answer((5, 0), (6, 1), (7, 1), (8, 0), (9, 1))
    pair = Pair("c1", answer((5, 0), (4, 1), (8, 0)), rejected)
    assert num_common(pair) == 1
    assert list(classes(rejected, 1)) == [
        "common", "first corrected", "other corrected", "unchanged after", "first corrected"
    ]  # fmt: skip


@pytest.mark.parametrize("normalize", [True, False])
def test_what_both_answers_share_cancels_in_sums_and_not_where_each_has_its_own_n(normalize: bool) -> None:
    objective = ObjectiveConfig(normalize=normalize, anchor_weight=0.0)
    run = prepared_run(str(MODEL_PATH), 4, TrainingConfig(objective=objective))
    pulls = pull(run)
    assert sum(share for share, _ in pulls.values()) == pytest.approx(1)
    (chosen, logp), (rejected, same_logp) = pulls["chosen", "common"], pulls["rejected", "common"]
    assert logp == pytest.approx(same_logp, abs=1e-4)
    assert (chosen == pytest.approx(rejected, rel=1e-3)) == (not normalize)
