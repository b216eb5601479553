from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from align.config import GateConfig
from align.gate import ItemMeasurement, Measured, bootstrap, decide

CONFIG = GateConfig()
Change = Callable[[Measured], Measured]


def measured_items(change: Change, num: int = 80, seed: int = 0) -> list[ItemMeasurement]:
    """A live adapter of mixed quality, and a candidate that differs by noise and by `change`."""
    rng = np.random.default_rng(seed)
    items = []
    for number in range(num):
        live = Measured(
            margin=float(rng.normal(0, 0.5)),
            chosen_logp=float(rng.normal(-1.2, 0.3)),
            coverage=float(rng.uniform(0.6, 1.0)),
            num_words=int(rng.integers(30, 50)),
            is_readable=True,
        )
        noisy = replace(
            live,
            margin=live.margin + float(rng.normal(0, 0.05)),
            chosen_logp=live.chosen_logp + float(rng.normal(0, 0.05)),
            coverage=min(1.0, live.coverage + float(rng.normal(0, 0.05))),
            num_words=live.num_words + int(rng.integers(-3, 4)),
        )
        items.append(ItemMeasurement(f"i{number}", f"image {number // 2}", live, change(noisy)))
    return items


def same(measured: Measured) -> Measured:
    return measured


def better(measured: Measured) -> Measured:
    return replace(measured, margin=measured.margin + 0.2, chosen_logp=measured.chosen_logp + 0.05)


def shorter(measured: Measured) -> Measured:
    return replace(better(measured), num_words=measured.num_words * 2 // 5)


def longer(measured: Measured) -> Measured:
    return replace(better(measured), num_words=measured.num_words * 3)


def emptier(measured: Measured) -> Measured:
    return replace(better(measured), coverage=measured.coverage * 0.7)


def stuck(measured: Measured) -> Measured:
    return replace(better(measured), is_readable=measured.num_words % 5 != 0)


def forgetful(measured: Measured) -> Measured:
    return replace(better(measured), chosen_logp=measured.chosen_logp - 0.5)


def test_a_real_improvement_is_admitted_with_its_grounds() -> None:
    verdict = decide(measured_items(better), measured_items(same, seed=1), CONFIG)
    assert verdict.is_admitted
    assert verdict.reasons[0].startswith("admitted: the margin on held-out corrections rose by +0.2")
    assert verdict.num_items == verdict.num_general_items == 80


def test_no_improvement_is_refused() -> None:
    verdict = decide(measured_items(same), measured_items(same, seed=1), CONFIG)
    assert not verdict.is_admitted
    assert [reason for reason in verdict.reasons if "no improvement" in reason] == list(verdict.reasons)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (shorter, "answers shrank to"),
        (longer, "answers grew to"),
        (emptier, "coverage of undisputed words fell"),
        (stuck, "empty or degenerate answers"),
        (forgetful, "became less likely"),
    ],
)
@pytest.mark.parametrize("where", ["held-out corrections", "uncorrected answers"])
def test_a_collapse_is_refused_wherever_it_shows(change: Change, reason: str, where: str) -> None:
    is_general = where == "uncorrected answers"
    items = measured_items(better if is_general else change)
    general = measured_items(change if is_general else same, seed=1)
    verdict = decide(items, general, CONFIG)
    assert not verdict.is_admitted
    assert len(verdict.reasons) == 1
    assert reason in verdict.reasons[0]


@pytest.mark.parametrize("field", ["margin", "chosen_logp", "coverage"])
@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("of_live", [True, False])
def test_one_measurement_that_is_no_number_refuses(field: str, value: float, of_live: bool) -> None:
    items = measured_items(better)
    broken = {"live" if of_live else "candidate": replace(items[3].live, **{field: value})}
    items[3] = replace(items[3], **broken)
    verdict = decide(items, measured_items(same, seed=1), CONFIG)
    assert not verdict.is_admitted
    assert "no number: i3" in verdict.reasons[0]


@pytest.mark.parametrize(("num", "num_general"), [(0, 80), (80, 0), (0, 0), (19, 80), (80, 19)])
def test_too_few_items_refuse(num: int, num_general: int) -> None:
    verdict = decide(measured_items(better, num), measured_items(same, num_general, seed=1), CONFIG)
    assert not verdict.is_admitted
    assert "are needed for a decision" in verdict.reasons[0]


def test_many_items_about_one_image_refuse() -> None:
    items = [replace(item, group="one image") for item in measured_items(better)]
    verdict = decide(items, measured_items(same, seed=1), CONFIG)
    assert not verdict.is_admitted
    assert "about one image" in verdict.reasons[0]


def test_a_live_adapter_that_says_nothing_is_no_yardstick() -> None:
    silent = [
        replace(item, live=replace(item.live, num_words=0, coverage=0.0, is_readable=False))
        for item in measured_items(better)
    ]
    verdict = decide(silent, measured_items(same, seed=1), CONFIG)
    assert not verdict.is_admitted
    assert "says nothing" in verdict.reasons[0]


def test_few_noisy_items_refuse_what_many_admit() -> None:
    def unsteady(measured: Measured) -> Measured:
        return replace(measured, margin=measured.margin + (0.9 if measured.num_words % 2 else -0.6))

    few, many = measured_items(unsteady, 20), measured_items(unsteady, 800)
    general = measured_items(same, seed=1)
    assert not decide(few, general, CONFIG).is_admitted
    assert decide(many, general, CONFIG).is_admitted


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(3)
    quick = CONFIG.model_copy(update={"num_resamples": 400})
    hits = 0
    for _ in range(200):
        values = rng.normal(1.0, 1.0, 60)
        interval = bootstrap(values, np.ones(60), [str(number) for number in range(60)], quick)
        hits += interval.low <= 1.0 <= interval.high
    assert 178 <= hits <= 199


def test_items_of_one_image_count_as_one_draw() -> None:
    values = np.repeat(np.random.default_rng(0).normal(0, 1, 20), 10)
    alone = bootstrap(values, np.ones(200), [str(number) for number in range(200)], CONFIG)
    grouped = bootstrap(values, np.ones(200), [str(number // 10) for number in range(200)], CONFIG)
    assert grouped.estimate == alone.estimate == pytest.approx(values.mean())
    assert grouped.high - grouped.low > 2 * (alone.high - alone.low)


def test_a_ratio_is_that_of_the_totals() -> None:
    interval = bootstrap(np.array([1.0, 30.0]), np.array([2.0, 30.0]), ["a", "b"], CONFIG)
    assert interval.estimate == pytest.approx(31 / 32)


def test_the_verdict_is_the_same_each_time_and_can_be_stored() -> None:
    items, general = measured_items(shorter), measured_items(same, seed=1)
    verdict = decide(items, general, CONFIG)
    assert decide(items, general, CONFIG) == verdict
    stored = json.loads(json.dumps(verdict.to_json()))
    assert stored["is_admitted"] is False
    assert stored["metrics"]["heldout_length_ratio"]["estimate"] == pytest.approx(0.4, abs=0.03)
