from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from align.config import GateConfig
from align.gate import Criterion, Decision, ItemMeasurement, Measured, decide
from align.gate.bootstrap import Bootstrap, Interval
from align.gate.criteria import Demand, Side
from align.gate.verdict import Standing, standing

CONFIG = GateConfig()
BOOTSTRAP = Bootstrap(num_resamples=2000, confidence=0.95, seed=0)
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
    assert verdict.decision == "admitted"
    assert verdict.reasons[0].startswith("admitted: score margin +0.2")
    assert verdict.num_held_out == verdict.num_general == 80
    assert verdict.comparisons["held_out.margin"].num_images == 40


def test_no_improvement_is_refused() -> None:
    verdict = decide(measured_items(same), measured_items(same, seed=1), CONFIG)
    assert not verdict.is_admitted
    assert verdict.decision == "refused"
    assert [reason for reason in verdict.reasons if "no improvement is shown" in reason] == list(
        verdict.reasons
    )


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (shorter, "answers shrank on"),
        (longer, "answers grew on"),
        (emptier, "answers tell less than before on"),
        (stuck, "answers became empty or degenerate on"),
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


@pytest.mark.parametrize(
    ("demand", "side", "low", "estimate", "high", "expected"),
    [
        ("shown", "at least", 0.01, 0.2, 0.4, "met"),
        ("shown", "at least", 0.0, 0.2, 0.4, "failed"),
        ("shown", "at most", -0.4, -0.2, -0.01, "met"),
        ("shown", "at most", -0.4, -0.2, 0.01, "failed"),
        ("kept", "at least", 0.0, 0.2, 0.4, "met"),
        ("kept", "at least", -0.1, 0.2, 0.4, "open"),
        ("kept", "at least", -0.4, -0.01, 0.4, "failed"),
        ("kept", "at most", -0.4, -0.2, 0.1, "open"),
        ("kept", "at most", -0.4, 0.01, 0.4, "failed"),
        ("unrefuted", "at least", -0.4, -0.2, 0.01, "met"),
        ("unrefuted", "at least", -0.4, -0.2, -0.01, "failed"),
        ("unrefuted", "at most", -0.4, 0.2, 0.4, "met"),
        ("unrefuted", "at most", 0.01, 0.2, 0.4, "failed"),
    ],
)
def test_a_demand_says_how_sure_one_must_be(
    demand: Demand, side: Side, low: float, estimate: float, high: float, expected: Standing
) -> None:
    criterion = Criterion("held_out.margin", demand, side, 0.0, "it is worse")
    assert standing(criterion, Interval(estimate, low, high)) == expected


@pytest.mark.parametrize("demand", ["shown", "kept", "unrefuted"])
@pytest.mark.parametrize("side", ["at least", "at most"])
def test_what_is_no_number_fulfils_no_demand(demand: Demand, side: Side) -> None:
    nothing = Interval(math.nan, math.nan, math.nan)
    assert standing(Criterion("held_out.margin", demand, side, 0.0, "it is worse"), nothing) == "failed"


def test_harm_that_is_not_seen_but_not_ruled_out_either_is_held_for_review() -> None:
    """Five of a hundred answers lose all their words: 95 % is kept of the 92 % needed, and the interval reaches out."""

    def sometimes_silent(items: list[ItemMeasurement]) -> list[ItemMeasurement]:
        return [
            replace(
                item, candidate=replace(item.live, coverage=0.0 if number % 20 == 0 else item.live.coverage)
            )
            for number, item in enumerate(items)
        ]

    def decision(num: int) -> Decision:
        return decide(
            measured_items(better), sometimes_silent(measured_items(same, num, seed=1)), CONFIG
        ).decision

    verdict = decide(measured_items(better), sometimes_silent(measured_items(same, 100, seed=1)), CONFIG)
    assert verdict.decision == "held"
    assert not verdict.is_admitted
    assert len(verdict.reasons) == 1
    assert verdict.reasons[0].startswith(
        "held for review, as too little was measured to rule out that answers tell"
    )
    assert decision(2000) == "admitted", "with enough answers it is ruled out"


def test_a_refusal_outweighs_a_review() -> None:
    general = [
        replace(item, candidate=replace(item.live, coverage=0.0 if number % 20 == 0 else item.live.coverage))
        for number, item in enumerate(measured_items(same, 100, seed=1))
    ]
    verdict = decide(measured_items(same), general, CONFIG)
    assert verdict.decision == "refused"
    assert all(reason.startswith("refused: no improvement") for reason in verdict.reasons)


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(3)
    quick = replace(BOOTSTRAP, num_resamples=400)
    hits = 0
    for _ in range(200):
        values = rng.normal(1.0, 1.0, 60)
        interval = quick.interval(values, np.ones(60), [str(number) for number in range(60)])
        hits += interval.low <= 1.0 <= interval.high
    assert 178 <= hits <= 199


def test_items_of_one_image_count_as_one_draw() -> None:
    values = np.repeat(np.random.default_rng(0).normal(0, 1, 20), 10)
    alone = BOOTSTRAP.interval(values, np.ones(200), [str(number) for number in range(200)])
    grouped = BOOTSTRAP.interval(values, np.ones(200), [str(number // 10) for number in range(200)])
    assert grouped.estimate == alone.estimate == pytest.approx(values.mean())
    assert grouped.high - grouped.low > 2 * (alone.high - alone.low)


def test_two_images_give_the_interval_worked_by_hand() -> None:
    """Drawn twice from two images, the mean is 0, 1/2 or 1 with chances 1/4, 1/2, 1/4."""
    interval = BOOTSTRAP.interval(np.array([0.0, 1.0]), np.ones(2), ["a", "b"])
    assert interval == Interval(0.5, 0.0, 1.0)
    narrow = replace(BOOTSTRAP, confidence=0.3).interval(np.array([0.0, 1.0]), np.ones(2), ["a", "b"])
    assert narrow == Interval(0.5, 0.5, 0.5)


def test_a_ratio_is_that_of_the_totals() -> None:
    interval = BOOTSTRAP.interval(np.array([1.0, 30.0]), np.array([2.0, 30.0]), ["a", "b"])
    assert interval.estimate == pytest.approx(31 / 32)


def test_images_without_a_denominator_are_not_drawn() -> None:
    numerators, denominators = np.array([1.0, 0.0, 2.0, 0.0]), np.array([1.0, 0.0, 1.0, 0.0])
    with_empty = BOOTSTRAP.interval(numerators, denominators, ["a", "b", "c", "d"])
    assert with_empty == BOOTSTRAP.interval(numerators[::2], denominators[::2], ["a", "c"])
    assert math.isnan(BOOTSTRAP.interval(np.zeros(2), np.zeros(2), ["a", "b"]).low)


def test_the_verdict_is_the_same_each_time_and_can_be_stored() -> None:
    items, general = measured_items(shorter), measured_items(same, seed=1)
    verdict = decide(items, general, CONFIG)
    assert decide(items, general, CONFIG) == verdict
    stored = json.loads(json.dumps(verdict.to_json()))
    assert stored["decision"] == "refused"
    assert stored["comparisons"]["held_out.length"]["change"]["estimate"] == pytest.approx(0.4, abs=0.03)
    assert {finding["criterion"]["figure"] for finding in stored["findings"]} == stored["comparisons"].keys()
