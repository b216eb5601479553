"""Whether a new adapter may serve: a pure decision from paired measurements. Knows no model and no torch.

Fail closed: what is missing, not finite or too little refuses. The candidate must improve on corrections that it
never saw, and must not pay for it elsewhere: a collapsed model makes no mistakes either, since it says nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, astuple, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .config import GateConfig

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Measured:
    """One adapter on one item. On an uncorrected answer the margin is 0 and the served text is the chosen one."""

    margin: float  # dense score of the chosen answer minus that of the rejected one, nats per weighted token
    chosen_logp: float  # mean log-prob of the chosen answer, nats per token
    coverage: float  # share of the undisputed words that its own greedy answer contains
    num_words: int  # of its own greedy answer
    is_readable: bool  # its own greedy answer is neither empty nor degenerate


@dataclass(frozen=True)
class ItemMeasurement:
    """Live and candidate adapter on the same item. Items of one `group` (image) are resampled together."""

    id: str
    group: str
    live: Measured
    candidate: Measured


@dataclass(frozen=True)
class Interval:
    estimate: float
    low: float
    high: float


@dataclass(frozen=True)
class Verdict:
    """`reasons` say why it was refused, or on which grounds it was admitted; `metrics` hold every interval."""

    is_admitted: bool
    reasons: tuple[str, ...]
    metrics: dict[str, Interval]
    num_items: int
    num_general_items: int

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def decide(
    items: Sequence[ItemMeasurement], general: Sequence[ItemMeasurement], config: GateConfig
) -> Verdict:
    """Judge the candidate on held-out corrections (`items`) and on answers that nobody corrected (`general`)."""
    if flaws := _flaws("held-out corrections", items, config.min_items) + _flaws(
        "uncorrected answers", general, config.min_general_items
    ):
        return Verdict(False, tuple(flaws), {}, len(items), len(general))

    metrics: dict[str, Interval] = {
        "margin_gain": _difference(items, lambda measured: measured.margin, config),
        "chosen_logp_change": _difference(items, lambda measured: measured.chosen_logp, config),
        "general_logp_change": _difference(general, lambda measured: measured.chosen_logp, config),
    }
    for name, part in (("heldout", items), ("general", general)):
        metrics[f"{name}_coverage_ratio"] = _ratio(part, lambda measured: measured.coverage, config)
        metrics[f"{name}_length_ratio"] = _ratio(part, lambda measured: measured.num_words, config)
        metrics[f"{name}_unreadable_change"] = _difference(
            part, lambda measured: not measured.is_readable, config
        )
    refusals = _refusals(metrics, config)
    grounds = refusals or (_grounds(metrics),)
    return Verdict(not refusals, grounds, metrics, len(items), len(general))


def _flaws(name: str, items: Sequence[ItemMeasurement], min_items: int) -> list[str]:
    """What makes a decision impossible."""
    if len(items) < min_items:
        return [f"refused: only {len(items)} {name}, {min_items} are needed for a decision"]
    if len({item.group for item in items}) < 2:
        return [f"refused: all {name} are about one image, so nothing is known about others"]
    broken = [
        item.id for item in items if not np.isfinite([*astuple(item.live), *astuple(item.candidate)]).all()
    ]
    if broken:
        return [
            f"refused: {len(broken)} of {len(items)} {name} have a measurement that is no number: {broken[0]}"
        ]
    if not any(item.live.coverage for item in items) or not any(item.live.num_words for item in items):
        return [
            f"refused: the live adapter says nothing about the {name}, so there is nothing to compare with"
        ]
    return []


def _refusals(metrics: dict[str, Interval], config: GateConfig) -> tuple[str, ...]:
    criteria = [*_likelihood_criteria(metrics, config)]
    for name, where in (("heldout", "held-out corrections"), ("general", "uncorrected answers")):
        criteria += _answer_criteria(metrics, name, where, config)
    return tuple(f"refused: {reason}" for is_met, reason in criteria if not is_met)


def _likelihood_criteria(metrics: dict[str, Interval], config: GateConfig) -> list[tuple[bool, str]]:
    """(is met, what to say if not). A bound that is no number meets nothing."""
    gain, chosen, general = (
        metrics[name] for name in ("margin_gain", "chosen_logp_change", "general_logp_change")
    )
    return [
        (
            gain.low > config.min_margin_gain,
            f"no improvement on held-out corrections: the margin changed by {_shown(gain)} nats per token, "
            f"and its lower bound must exceed {config.min_margin_gain:g}",
        ),
        (
            chosen.low >= -config.max_chosen_drop,
            f"corrected answers became less likely: {_shown(chosen)} nats per token, "
            f"{-config.max_chosen_drop:g} is tolerated",
        ),
        (
            general.low >= -config.max_general_drop,
            f"answers that nobody corrected became less likely: {_shown(general)} nats per token, "
            f"{-config.max_general_drop:g} is tolerated",
        ),
    ]


def _answer_criteria(
    metrics: dict[str, Interval], name: str, where: str, config: GateConfig
) -> list[tuple[bool, str]]:
    coverage, length, unreadable = (
        metrics[f"{name}_{what}"] for what in ("coverage_ratio", "length_ratio", "unreadable_change")
    )
    return [
        (
            coverage.low >= 1 - config.max_coverage_drop,
            f"coverage of undisputed words fell to {_percent(coverage)} of the live adapter's on {where}, "
            f"{1 - config.max_coverage_drop:.0%} is needed",
        ),
        (
            length.low >= 1 - config.max_shrinkage,
            f"answers shrank to {_percent(length)} of the live adapter's words on {where}, "
            f"{1 - config.max_shrinkage:.0%} is needed",
        ),
        (
            length.high <= 1 + config.max_growth,
            f"answers grew to {_percent(length)} of the live adapter's words on {where}, "
            f"{1 + config.max_growth:.0%} is tolerated",
        ),
        (
            unreadable.high <= config.max_unreadable_rise,
            f"empty or degenerate answers changed by {_percent(unreadable)} of all on {where}, "
            f"{config.max_unreadable_rise:.0%} more is tolerated",
        ),
    ]


def _grounds(metrics: dict[str, Interval]) -> str:
    return (
        f"admitted: the margin on held-out corrections rose by {_shown(metrics['margin_gain'])} nats per token, with "
        f"coverage at {_percent(metrics['heldout_coverage_ratio'])} and length at "
        f"{_percent(metrics['heldout_length_ratio'])} of the live adapter's"
    )


def _difference(
    items: Sequence[ItemMeasurement], value: Callable[[Measured], float], config: GateConfig
) -> Interval:
    """Of the means, candidate minus live."""
    differences = np.array([float(value(item.candidate)) - float(value(item.live)) for item in items])
    return bootstrap(differences, np.ones(len(items)), [item.group for item in items], config)


def _ratio(
    items: Sequence[ItemMeasurement], value: Callable[[Measured], float], config: GateConfig
) -> Interval:
    """Of the totals, candidate over live."""
    candidate = np.array([float(value(item.candidate)) for item in items])
    live = np.array([float(value(item.live)) for item in items])
    return bootstrap(candidate, live, [item.group for item in items], config)


def bootstrap(
    numerators: Floats, denominators: Floats, groups: Sequence[str], config: GateConfig
) -> Interval:
    """Percentile interval of sum(numerators) / sum(denominators), whole groups drawn with replacement.

    With denominators of one this is a mean. A resample without any denominator counts as no number, which makes
    the interval's ends no number, which no bound admits.
    """
    names, index = np.unique(np.asarray(groups), return_inverse=True)
    totals = np.zeros((len(names), 2))  # (G, 2)
    np.add.at(totals, index, np.stack([numerators, denominators], axis=1))
    draws = np.random.default_rng(config.seed).multinomial(
        len(names), np.full(len(names), 1 / len(names)), size=config.num_resamples
    )  # (R, G)
    resampled = draws @ totals  # (R, 2)
    with np.errstate(divide="ignore", invalid="ignore"):
        statistics = resampled[:, 0] / resampled[:, 1]
    tail = (1 - config.confidence) / 2
    low, high = np.quantile(statistics, [tail, 1 - tail])
    return Interval(float(numerators.sum() / denominators.sum()), float(low), float(high))


def _shown(interval: Interval) -> str:
    return f"{interval.estimate:+.3f} [{interval.low:+.3f}, {interval.high:+.3f}]"


def _percent(interval: Interval) -> str:
    return f"{interval.estimate:.1%} [{interval.low:.1%}, {interval.high:.1%}]"
