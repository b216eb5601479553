"""What the rounds showed, for people and as JSON."""

from __future__ import annotations

import platform
import statistics
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

import psutil
from rich.table import Table

from .rounds import Round


@dataclass
class Report:
    seed: int
    database: str
    rounds: list[Round] = field(default_factory=list)

    @property
    def struck(self) -> list[Round]:
        return [one for one in self.rounds if one.recovery_s is not None]

    @property
    def violations(self) -> list[str]:
        return [f"round {one.number}, {one.kind}: {what}" for one in self.rounds for what in one.violations]

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
            "corrections": self.rounds[-1].num_corrections if self.rounds else 0,
            "seed": self.seed,
            "database": self.database,
            "each": [asdict(one) for one in self.rounds],
            "machine": f"{psutil.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}",
            "date": datetime.now(UTC).date().isoformat(),
        }
