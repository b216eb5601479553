"""What the rounds showed, for people and as JSON, which a later run may read and add to.

Each run is a stretch of its own that says of which code it was: rounds add up, and nothing wrong is lost in the sum.
"""

from __future__ import annotations

import platform
import statistics
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
from rich.table import Table

import serve
from align.provenance import code_version

from .rounds import Round


@dataclass
class Stretch:
    """The rounds of one run, and what they struck."""

    seed: int
    database: str
    code: dict[str, str]  # version and digest of the sources, by package
    machine: str
    date: str
    rounds: list[Round] = field(default_factory=list)


def stretch(seed: int, database: str) -> Stretch:
    """Of this code, on this machine, today."""
    return Stretch(
        seed,
        database,
        {"align": code_version(), "serve": code_version(Path(serve.__file__).parent)},
        f"{psutil.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}",
        datetime.now(UTC).date().isoformat(),
    )


@dataclass
class Report:
    stretches: list[Stretch]

    @property
    def rounds(self) -> list[Round]:
        return [one for stretch in self.stretches for one in stretch.rounds]

    @property
    def struck(self) -> list[Round]:
        return [one for one in self.rounds if one.recovery_s is not None]

    @property
    def violations(self) -> list[str]:
        return [f"round {one.number}, {one.kind}: {what}" for one in self.rounds for what in one.violations]

    @property
    def next_number(self) -> int:
        return max((one.number + 1 for one in self.rounds), default=0)

    def recovery_s(self) -> dict[str, dict[str, float]]:
        by_kind: dict[str, list[float]] = {}
        for one in self.struck:
            by_kind.setdefault(one.kind, []).append(one.recovery_s or 0.0)
        return {
            kind: {
                "rounds": len(seconds),
                "median": round(statistics.median(seconds), 2),
                "max": round(max(seconds), 2),
            }
            for kind, seconds in by_kind.items()
        }

    def line(self, done: Round) -> str:
        recovery = "nothing to strike" if done.recovery_s is None else f"back after {done.recovery_s:.1f} s"
        told = f"{done.number + 1}. {done.kind}: {recovery}, {done.num_answers} answers, {done.num_broken} broken off"
        return "\n".join([told, *(f"   VIOLATION {what}" for what in done.violations)])

    def table(self) -> Table:
        result = Table(
            "struck", "rounds", "back after, median", "max", title=f"{len(self.violations)} violations"
        )
        for kind, seconds in self.recovery_s().items():
            median, most = f"{seconds['median']:.1f} s", f"{seconds['max']:.1f} s"
            result.add_row(kind, str(int(seconds["rounds"])), median, most)
        return result

    def to_json(self) -> dict[str, Any]:
        return {
            "rounds": len(self.struck),
            "violations": len(self.violations),
            "recovery_seconds": self.recovery_s(),
            "what": self.violations,
            "answers": sum(one.num_answers for one in self.rounds),
            "broken_off": sum(one.num_broken for one in self.rounds),
            "corrections": sum(one.rounds[-1].num_corrections for one in self.stretches if one.rounds),
            "stretches": [asdict(one) for one in self.stretches if one.rounds],
        }


def from_json(told: Mapping[str, Any]) -> Report:
    """As `to_json` told it: the sums are made anew."""
    return Report(
        [Stretch(**{**one, "rounds": [_round(each) for each in one["rounds"]]}) for one in told["stretches"]]
    )


def _round(told: Mapping[str, Any]) -> Round:
    return Round(**{**told, "violations": tuple(told["violations"])})
