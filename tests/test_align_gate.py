from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from align.config import GateConfig
from align.gate import (
    Criterion,
    Decision,
    ItemMeasurement,
    Measured,
    Measurements,
    Truth,
    Verdict,
    criteria,
    decide,
)
from align.gate.bootstrap import Bootstrap, Interval
from align.gate.criteria import Demand, Side
from align.gate.figures import FIGURES
from align.gate.verdict import Standing, standing

CONFIG = GateConfig()
BOOTSTRAP = Bootstrap(num_resamples=2000, confidence=0.95, seed=0)
Change = Callable[[Measured], Measured]


def measured_items(change: Change, num: int = 80, seed: int = 0) -> tuple[ItemMeasurement, ...]:
    """A live adapter of mixed quality, and a candidate that differs by noise and by `change`."""
    rng = np.random.default_rng(seed)
    items = []
    for number in range(num):
        live = Measured(
            margin=float(rng.normal(0, 0.5)),
            corrected_logp=float(rng.normal(-1.2, 0.3)),
            coverage=float(rng.uniform(0.6, 1.0)),
            num_words=int(rng.integers(30, 50)),
            is_readable=True,
            returned=(("object", number % 2 == 0),),
        )
        noisy = replace(
            live,
            margin=live.margin + float(rng.normal(0, 0.05)),
            corrected_logp=live.corrected_logp + float(rng.normal(0, 0.05)),
            divergence=0.01,
            coverage=min(1.0, live.coverage + float(rng.normal(0, 0.05))),
            num_words=live.num_words + int(rng.integers(-3, 4)),
        )
        items.append(ItemMeasurement(f"i{number}", f"image {number // 2}", live, change(noisy)))
    return tuple(items)


def judged(
    change: Change, general_change: Change | None = None, num: int = 80, num_general: int = 80
) -> Verdict:
    """The verdict on a candidate that does `change` to held-out corrections, and the other to uncorrected answers."""
    general = measured_items(general_change or same, num_general, seed=1)
    return decide(Measurements(measured_items(change, num), general), CONFIG)


def same(measured: Measured) -> Measured:
    return measured


def better(measured: Measured) -> Measured:
    return replace(measured, margin=measured.margin + 0.2, corrected_logp=measured.corrected_logp + 0.05)


def worse(measured: Measured) -> Measured:
    return replace(measured, margin=measured.margin - 0.2)


def shorter(measured: Measured) -> Measured:
    return replace(better(measured), num_words=measured.num_words * 2 // 5)


def longer(measured: Measured) -> Measured:
    return replace(better(measured), num_words=measured.num_words * 3)


def emptier(measured: Measured) -> Measured:
    return replace(better(measured), coverage=measured.coverage * 0.7)


def stuck(measured: Measured) -> Measured:
    return replace(better(measured), is_readable=measured.num_words % 5 != 0)


def forgetful(measured: Measured) -> Measured:
    return replace(better(measured), corrected_logp=measured.corrected_logp - 0.5)


def relapsed(measured: Measured) -> Measured:
    return replace(better(measured), returned=(("object", True),))


def astray(measured: Measured) -> Measured:
    return replace(measured, divergence=measured.divergence + 1.0)


def test_a_real_improvement_is_admitted_with_its_grounds() -> None:
    verdict = judged(better)
    assert verdict.is_admitted
    assert verdict.decision == "admitted"
    assert verdict.reasons[0].startswith("admitted: score margin +0.2")
    assert "; corrected-away words said again +0.0 [+0.0, +0.0] points" in verdict.reasons[0]
    assert verdict.num_held_out == verdict.num_general == 80
    assert verdict.comparisons["held_out.margin"].num_images == 40


def test_no_improvement_is_refused() -> None:
    verdict = judged(same)
    assert verdict.decision == "refused"
    assert [reason for reason in verdict.reasons if "no improvement is shown" in reason] == list(
        verdict.reasons
    )


def test_a_worse_adapter_is_called_worse() -> None:
    verdict = judged(worse)
    assert verdict.decision == "refused"
    assert len(verdict.reasons) == 1
    assert verdict.reasons[0].startswith(
        "refused: it is worse: held-out corrections are preferred less than before"
    )


def test_an_adapter_that_changes_nothing_is_called_so() -> None:
    live = [
        replace(item, candidate=replace(item.live, margin=item.live.margin + 1e-7))
        for item in measured_items(same)
    ]
    verdict = decide(Measurements(tuple(live), tuple(live)), CONFIG)
    assert verdict.reasons == (
        "refused: the adapter changes nothing: it scores and answers as the live one does, on every item",
    )


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (shorter, "answers shrank on"),
        (longer, "answers grew on"),
        (emptier, "answers tell less than before on"),
        (stuck, "answers became empty or degenerate on"),
    ],
)
@pytest.mark.parametrize("where", ["held-out corrections", "uncorrected answers"])
def test_a_collapse_is_refused_wherever_it_shows(change: Change, reason: str, where: str) -> None:
    is_general = where == "uncorrected answers"
    verdict = judged(better if is_general else change, change if is_general else same)
    assert verdict.decision == "refused"
    assert len(verdict.reasons) == 1
    assert verdict.reasons[0].startswith(f"refused: {reason} {where}: ")


@pytest.mark.parametrize(
    ("change", "general_change", "reason"),
    [
        (forgetful, same, "corrected answers became less likely"),
        (relapsed, same, "what people took out of held-out answers comes back more often"),
        (better, astray, "the candidate strays from the base where nobody corrected it"),
    ],
)
def test_harm_that_only_one_set_can_show_is_refused(
    change: Change, general_change: Change, reason: str
) -> None:
    verdict = judged(change, general_change)
    assert verdict.decision == "refused"
    assert verdict.reasons[0].startswith(f"refused: {reason}: ")


@pytest.mark.parametrize("field", ["margin", "corrected_logp", "coverage", "divergence"])
@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("of_live", [True, False])
def test_one_measurement_that_is_no_number_refuses(field: str, value: float, of_live: bool) -> None:
    items = list(measured_items(better))
    broken = {"live" if of_live else "candidate": replace(items[3].live, **{field: value})}
    items[3] = replace(items[3], **broken)
    verdict = decide(Measurements(tuple(items), measured_items(same, seed=1)), CONFIG)
    assert verdict.decision == "refused"
    assert "1 of 80 held-out corrections have a measurement that is no number: i3" in verdict.reasons[0]


@pytest.mark.parametrize(
    ("num", "num_general", "reason"),
    [
        (0, 80, "there are no held-out corrections to judge by"),
        (80, 0, "there are no uncorrected answers to judge by"),
        (19, 80, "only 19 held-out corrections, 20 are needed for a decision"),
        (80, 19, "only 19 uncorrected answers, 20 are needed for a decision"),
    ],
)
def test_an_empty_or_too_small_set_refuses(num: int, num_general: int, reason: str) -> None:
    verdict = judged(better, same, num, num_general)
    assert verdict.reasons == (f"refused: {reason}",)


def test_many_items_about_one_image_refuse() -> None:
    items = tuple(replace(item, group="one image") for item in measured_items(better))
    verdict = decide(Measurements(items, measured_items(same, seed=1)), CONFIG)
    assert verdict.decision == "refused"
    assert "about one image" in verdict.reasons[0]


def test_a_live_adapter_that_says_nothing_is_no_yardstick() -> None:
    silent = tuple(
        replace(item, live=replace(item.live, num_words=0, coverage=0.0, is_readable=False))
        for item in measured_items(better)
    )
    verdict = decide(Measurements(silent, measured_items(same, seed=1)), CONFIG)
    assert verdict.decision == "refused"
    assert "says nothing" in verdict.reasons[0]


def test_few_noisy_items_refuse_what_many_admit() -> None:
    def unsteady(measured: Measured) -> Measured:
        return replace(measured, margin=measured.margin + (0.9 if measured.num_words % 2 else -0.6))

    assert judged(unsteady, num=20).decision == "refused"
    assert judged(unsteady, num=800).decision == "admitted"


def with_truth(
    items: tuple[ItemMeasurement, ...], live: Truth, candidate: Truth
) -> tuple[ItemMeasurement, ...]:
    return tuple(
        replace(
            item,
            live=replace(item.live, truth=live),
            candidate=replace(item.candidate, truth=candidate if number % 4 == 0 else live),
        )
        for number, item in enumerate(items)
    )


@pytest.mark.parametrize(
    ("candidate", "reason"),
    [
        (Truth(("object",), 1.0), "more answers claim what is not so: answers with a wrong claim +25.0"),
        (
            Truth((), 0.5),
            "answers name fewer of the objects that are there: objects of the picture told 87.5%",
        ),
    ],
)
def test_where_the_truth_is_known_it_counts(candidate: Truth, reason: str) -> None:
    held_out = with_truth(measured_items(better), Truth((), 1.0), candidate)
    verdict = decide(Measurements(held_out, measured_items(same, seed=1)), CONFIG)
    assert verdict.decision == "refused"
    assert verdict.reasons[0].startswith(f"refused: {reason}")


def test_one_kind_of_mistake_that_grows_refuses_though_all_together_fall() -> None:
    held_out = tuple(
        replace(
            item,
            live=replace(item.live, truth=Truth(("object",), 1.0)),
            candidate=replace(item.candidate, truth=Truth(("colour",) if number % 3 == 0 else (), 1.0)),
        )
        for number, item in enumerate(measured_items(better))
    )
    verdict = decide(Measurements(held_out, measured_items(same, seed=1)), CONFIG)
    assert verdict.comparisons["truth.wrong"].change.high < 0
    assert [reason.split(": answers with")[0] for reason in verdict.reasons] == [
        "refused: more answers claim what is not so: kind colour"
    ]


@pytest.mark.parametrize(("num_images", "decision"), [(9, "admitted"), (10, "refused")])
def test_a_kind_is_judged_from_ten_images_on(num_images: int, decision: Decision) -> None:
    """Every segment of kind number comes back with the candidate, and no other does."""
    held_out = [
        replace(
            item,
            live=replace(item.live, returned=(("object", True),)),
            candidate=replace(item.candidate, returned=(("object", False),)),
        )
        for item in measured_items(better)
    ]
    for number in range(0, 2 * num_images, 2):  # two items an image
        held_out[number] = replace(
            held_out[number],
            live=replace(held_out[number].live, returned=(("number", False),)),
            candidate=replace(held_out[number].candidate, returned=(("number", True),)),
        )
    verdict = decide(Measurements(tuple(held_out), measured_items(same, seed=1)), CONFIG)
    assert verdict.decision == decision
    finding = next(one for one in verdict.findings if one.criterion.figure == "recurrence.number")
    assert finding.standing == ("failed" if decision == "refused" else "not judged")


def test_a_verdict_finds_on_every_criterion_that_was_fixed_and_on_no_other() -> None:
    assert tuple(finding.criterion for finding in judged(better).findings) == criteria(CONFIG)
    stricter = CONFIG.model_copy(update={"max_shrinkage": 0.1})
    bounds = {
        one.bound for one in criteria(stricter) if one.figure.endswith("length") and one.side == "at least"
    }
    assert bounds == {0.9}


def test_every_criterion_is_about_a_figure_and_every_figure_that_refuses_is_fixed_beforehand() -> None:
    assert {criterion.figure for criterion in criteria(CONFIG)} == FIGURES.keys()


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


def sometimes_silent(num: int) -> tuple[ItemMeasurement, ...]:
    """A tenth of the answers lose all their words: 90 % is kept of the 85 % needed."""
    return tuple(
        replace(item, candidate=replace(item.live, coverage=0.0 if number % 10 == 0 else item.live.coverage))
        for number, item in enumerate(measured_items(same, num, seed=1))
    )


def test_harm_that_is_not_seen_but_not_ruled_out_either_is_held_for_review() -> None:
    verdict = decide(Measurements(measured_items(better), sometimes_silent(60)), CONFIG)
    assert verdict.decision == "held"
    assert not verdict.is_admitted
    assert len(verdict.reasons) == 1
    assert verdict.reasons[0].startswith(
        "held for review, as too little was measured to rule out that answers tell less than before"
    )
    enough = decide(Measurements(measured_items(better), sometimes_silent(2000)), CONFIG)
    assert enough.decision == "admitted"


def test_a_refusal_outweighs_a_review() -> None:
    verdict = decide(Measurements(measured_items(same), sometimes_silent(60)), CONFIG)
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


def test_images_that_say_nothing_are_not_drawn() -> None:
    numerators, denominators = np.array([1.0, 0.0, 2.0, 0.0]), np.array([1.0, 0.0, 1.0, 0.0])
    with_empty = BOOTSTRAP.interval(numerators, denominators, ["a", "b", "c", "d"])
    assert with_empty == BOOTSTRAP.interval(numerators[::2], denominators[::2], ["a", "c"])
    assert math.isnan(BOOTSTRAP.interval(np.zeros(2), np.zeros(2), ["a", "b"]).low)


def test_the_verdict_is_the_same_each_time_and_can_be_stored() -> None:
    verdict = judged(shorter)
    assert judged(shorter) == verdict
    stored = json.loads(json.dumps(verdict.to_json()))
    assert stored["decision"] == "refused"
    assert stored["comparisons"]["held_out.length"]["change"]["estimate"] == pytest.approx(0.4, abs=0.03)
    assert {finding["criterion"]["figure"] for finding in stored["findings"]} == FIGURES.keys()
