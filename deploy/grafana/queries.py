"""What a panel asks, written once: `promql` asks Prometheus, `plain` is the same for the page, which has none.

The page computes it by itself (`clients/web/loop/board/`). Knows nothing of panels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

JOB = 'job="$job"'
SCRAPES = "$__rate_interval"
HOUR_S = 3600


class Query(Protocol):
    @property
    def promql(self) -> str: ...

    @property
    def plain(self) -> dict[str, Any]: ...


@dataclass(frozen=True)
class Gathered:
    """The series of some metrics as one number for each value of the labels in `by`."""

    take: Literal["sum", "max", "rate", "change"]
    metrics: tuple[str, ...]
    by: tuple[str, ...] = ()
    where: Mapping[str, str] = field(default_factory=dict)  # label to what it is, as a regular expression
    expression: str = ""
    window_s: int = 60  # what a rate or a change is of

    @property
    def promql(self) -> str:
        return self.expression

    @property
    def plain(self) -> dict[str, Any]:
        said: dict[str, Any] = {"take": self.take, "metrics": list(self.metrics), "by": list(self.by)}
        if self.where:
            said["where"] = dict(self.where)
        return said | ({"window_s": self.window_s} if self.take in ("rate", "change") else {})


def rate(metric: str, *by: str) -> Gathered:
    expression = f"sum by ({', '.join(by)}) (rate({metric}{{{JOB}}}[{SCRAPES}]))"
    return Gathered("rate", (metric,), by, {}, expression)


def newest(metric: str, *by: str, **where: str) -> Gathered:
    """What the store knows is the same from every replica: `max`, never `sum`."""
    matchers = "".join(f', {label}="{value}"' for label, value in where.items())
    expression = f"max by ({', '.join(by)}) ({metric}{{{JOB}{matchers}}})"
    return Gathered("max", (metric,), by, where, expression)


def total(metric: str) -> Gathered:
    return Gathered("sum", (metric,), (), {}, f"sum({metric}{{{JOB}}})")


def of_each_replica(metric: str) -> Gathered:
    return Gathered("max", (metric,), ("replica",), {}, f"{metric}{{{JOB}}}")


def change_in_an_hour(metric: str, by: str) -> Gathered:
    """Of a gauge of the store, all values of `by` together."""
    expression = f"sum(max by ({by}) (delta({metric}{{{JOB}}}[1h])))"
    return Gathered("change", (metric,), (), {}, expression, HOUR_S)


@dataclass(frozen=True)
class Quantile:
    """Of a histogram, all its labels together."""

    q: float
    metric: str

    @property
    def promql(self) -> str:
        return f"histogram_quantile({self.q}, {self._buckets.promql})"

    @property
    def plain(self) -> dict[str, Any]:
        return {"take": "quantile", "q": self.q, "of": self._buckets.plain}

    @property
    def _buckets(self) -> Gathered:
        return rate(f"{self.metric}_bucket", "le")


@dataclass(frozen=True)
class Ratio:
    """A part of a whole, where there is a whole. `rule` is the recording rule that says the same to Prometheus."""

    part: Gathered
    whole: Gathered
    rule: str = ""

    @property
    def promql(self) -> str:
        return f"{self.rule}{{{JOB}}}" if self.rule else f"{self.part.promql} / {self.whole.promql}"

    @property
    def plain(self) -> dict[str, Any]:
        return {"take": "ratio", "part": self.part.plain, "whole": self.whole.plain}


FIVE_MINUTES_S = 300
"""What the recording rules look back."""


def recent(*metrics: str, by: tuple[str, ...] = (), **where: str) -> Gathered:
    """Within a recording rule, so without PromQL of its own."""
    return Gathered("rate", metrics, by, where, window_s=FIVE_MINUTES_S)


def recorded(take: Literal["sum", "max"], metric: str, *by: str) -> Gathered:
    return Gathered(take, (metric,), by)
