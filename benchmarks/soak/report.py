"""What a soak showed, for people and as JSON: each series by its beginning, its end and its slope."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import psutil
from rich.table import Table

from .course import Plan, Record
from .flatness import Trend, trend
from .series import MIB, Series, all_series


class Report:
    def __init__(self, plan: Plan, record: Record) -> None:
        """Of a record that may still grow: it is judged over the time that it covers so far."""
        self._plan = plan
        self._record = record
        last_s = max((look.at_s for look in record.looks), default=0.0)
        self._duration_s = min(plan.duration_s, last_s + plan.every_s / 4)
        self._series = all_series(record)
        self._trends = {name: trend(one.points, self._duration_s) for name, one in self._series.items()}

    @property
    def failures(self) -> list[str]:
        record = self._record
        answers = [failure for one in record.periods for failure in one.failures]
        return answers + [one.failure for one in record.rest if one.failure is not None]

    @property
    def num_failed(self) -> int:
        return len(self.failures) + self._record.failed_corrections + len(self._record.abandoned)

    @property
    def not_flat(self) -> list[str]:
        return [name for name, is_flat in self._flat().items() if not is_flat]

    def line(self) -> str:
        look, memory = (
            self._record.looks[-1],
            sum(one.memory for one in self._record.looks[-1].roles.values()),
        )
        return (
            f"{look.at_s / 60:5.1f} min: {look.room.answers:,} answers, {len(self._record.swaps)} promotions, "
            f"{self.num_failed} failed, {memory / MIB:,.0f} MiB"
        )

    def table(self) -> Table:
        title = (
            f"{self._num_requests:,} requests, {len(self._record.swaps)} promotions, {self.num_failed} failed"
        )
        table = Table("", "warm", "in the end", "ratio", "a hour, 95 %", "flat", title=title)
        for name, one in self._series.items():
            if (found := self._trends[name]) is not None:
                table.add_row(name, *_cells(one, found))
        return table

    def to_json(self) -> dict[str, Any]:
        record = self._record
        return {
            "requests": {"total": self._num_requests, "failed": self.num_failed},
            "promotions": len(record.swaps),
            "flat": self._flat(),
            "failures": sorted(set(self.failures)) + record.abandoned,
            "series": {
                name: {
                    **found.to_json(),
                    "bound": asdict(self._series[name].bound),
                    "is_rising": found.is_rising,
                }
                for name, found in self._trends.items()
                if found is not None
            },
            "plan": asdict(self._plan),
            "minutes": self._duration_s / 60,
            "corrections": record.corrections,
            "samples": [asdict(look) for look in record.looks],
            "latency": [one.to_json() for one in record.periods],
            "each_promotion": [
                {"at_s": at, "version": swap.version, "was": swap.was, "seconds": swap.switched - swap.asked}
                for at, swap in record.swaps
            ],
            "machine": f"{psutil.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}",
            "date": datetime.now(UTC).date().isoformat(),
        }

    @property
    def _num_requests(self) -> int:
        record = self._record
        answers = sum(one.answers + len(one.failures) for one in record.periods) + len(record.rest)
        return answers + record.corrections

    def _flat(self) -> dict[str, bool]:
        return {
            name: found.is_flat(self._series[name].bound)
            for name, found in self._trends.items()
            if found is not None
        }


def _cells(one: Series, found: Trend) -> Iterator[str]:
    yield _told(found.before, one.unit)
    yield _told(found.after, one.unit)
    yield "" if found.before == 0 else f"{found.ratio:.3f}"
    yield f"{_told(found.slope, one.unit, sign='+')} ± {_told(found.margin, one.unit)}"
    yield "[green]yes[/]" if found.is_flat(one.bound) else "[bold red]no[/]"


def _told(value: float, unit: str, sign: str = "") -> str:
    if unit == "s":
        return f"{1e3 * value:{sign}.1f} ms"
    if unit == "B" and abs(value) >= MIB / 10:
        return f"{value / MIB:{sign}.1f} MiB"
    return f"{value:{sign}.1f}{' B' if unit else ''}"
