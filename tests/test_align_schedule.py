from __future__ import annotations

from align.config import ObjectiveConfig, SftFirst, TrainingConfig
from align.schedule import Stage, epochs, learning_rate, stage_at, stages


def test_the_rate_of_a_stage_rises_then_falls_and_never_reaches_zero() -> None:
    stage = Stage(ObjectiveConfig(), learning_rate=1.0, num_epochs=2, first_step=7, num_steps=20)
    rates = [learning_rate(step, stage, 0.2) for step in range(7, 27)]
    assert max(rates) == rates[4] == 1.0
    assert rates[:5] == sorted(rates[:5])
    assert rates[4:] == sorted(rates[4:], reverse=True)
    assert min(rates) > 0


def test_a_run_has_one_stage_unless_sft_comes_first() -> None:
    config = TrainingConfig(num_epochs=3)
    (only,) = stages(3, config)
    assert (only.num_steps, only.learning_rate, only.objective) == (9, config.learning_rate, config.objective)
    assert not only.is_own_reference


def test_sft_first_is_a_stage_of_its_own_rate_and_the_reference_of_the_next() -> None:
    objective = ObjectiveConfig(sft_first=SftFirst(num_epochs=2, learning_rate=1e-3))
    first, second = both = stages(3, TrainingConfig(objective=objective, num_epochs=4))
    assert (first.first_step, first.num_steps, first.learning_rate) == (0, 6, 1e-3)
    assert (second.first_step, second.num_steps, second.num_epochs) == (6, 12, 4)
    assert (first.objective.preference_weight, first.objective.anchor_weight) == (0, 1)
    assert second.objective == objective
    assert (first.is_own_reference, second.is_own_reference) == (False, True)
    assert [stage_at(step, both) for step in (0, 5, 6, 17)] == [first, first, second, second]


def test_the_base_can_stay_the_reference_after_sft() -> None:
    objective = ObjectiveConfig(sft_first=SftFirst(reference="base"))
    both = stages(10, TrainingConfig(objective=objective))
    assert [stage.is_own_reference for stage in both] == [False, False]


def test_few_pairs_are_passed_over_more_often_unless_the_passes_are_given() -> None:
    at_least_60 = TrainingConfig(min_steps=60)
    assert [epochs(steps, at_least_60) for steps in (1, 7, 10, 19, 20, 21, 200)] == [60, 9, 6, 4, 3, 3, 3]
    assert [epochs(steps, TrainingConfig(num_epochs=2)) for steps in (1, 200)] == [2, 2]
