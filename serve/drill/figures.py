"""What a drill proves, as figures: pure functions of what was seen. Knows nothing of servers."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .load import Seen
from .memory import Memory
from .references import References
from .swaps import Swap


@dataclass(frozen=True)
class Tail:
    """Of a sample, in the unit of its values."""

    num: int
    p50: float
    p99: float
    max: float

    def to_json(self) -> dict[str, float | None]:
        return {"num": self.num, "p50": known(self.p50), "p99": known(self.p99), "max": known(self.max)}


def known(value: float) -> float | None:
    """As JSON has it, which knows no NaN."""
    return None if math.isnan(value) else value


def tail(values: Sequence[float]) -> Tail:
    """Percentiles by the nearest rank: a value that was really seen."""
    if not values:
        return Tail(0, math.nan, math.nan, math.nan)
    ordered = sorted(values)
    p50, p99 = (ordered[math.ceil(share * len(ordered)) - 1] for share in (0.5, 0.99))
    return Tail(len(ordered), p50, p99, ordered[-1])


@dataclass(frozen=True)
class Figures:
    num_requests: int
    failures: tuple[str, ...]
    mixed: tuple[str, ...]  # what each was, in words
    by_version: Mapping[str, int]
    steady: Tail  # seconds between two pieces of one answer
    around: Tail  # the same, between a promotion's request and the last answer of the version before
    to_last_replica: Tail  # seconds
    num_loads: int
    memory_before: Mapping[str, int]
    memory_after: Mapping[str, int]

    @property
    def gap_ratio_p99(self) -> float:
        return self.around.p99 / self.steady.p99

    @property
    def memory_growth(self) -> float:
        """Of the replica that grew most; 0.01 is 1 %. A replica that is new has no growth to tell."""
        both = self.memory_before.keys() & self.memory_after.keys()
        return max((self.memory_after[one] / self.memory_before[one] - 1 for one in both), default=math.nan)

    @property
    def is_correct(self) -> bool:
        return not self.failures and not self.mixed

    def to_json(self) -> dict[str, Any]:
        return {
            "requests": {
                "total": self.num_requests,
                "failed": len(self.failures),
                "mixed": len(self.mixed),
                "by_version": dict(self.by_version),
            },
            "failures": sorted(set(self.failures)),
            "mixed": list(self.mixed[:20]),
            "gap_ratio_p99": known(self.gap_ratio_p99),
            "gap_seconds": {"steady": self.steady.to_json(), "around_swaps": self.around.to_json()},
            "seconds_to_last_replica_p99": known(self.to_last_replica.p99),
            "seconds_to_last_replica": self.to_last_replica.to_json(),
            "memory_growth": known(self.memory_growth),
            "memory": {
                "num_loads": self.num_loads,
                "before": dict(self.memory_before),
                "after": dict(self.memory_after),
            },
        }


def figures(
    seen: Sequence[Seen],
    swaps: Sequence[Swap],
    references: References,
    token_ids: Mapping[str, tuple[int, ...]],
    memory: Sequence[Memory],
    num_warm_up_swaps: int,
) -> Figures:
    """`token_ids` are those of the server's records, by response id, where they can be read."""
    windows = [_window(swap, seen) for swap in swaps]
    looks = [(look.began, look.ended) for look in memory]  # they cost time themselves
    gaps = [gap for one in seen for gap in _gaps(one) if not _touches(*gap, looks)]
    around = [end - start for start, end in gaps if _touches(start, end, windows)]
    steady = [end - start for start, end in gaps if not _touches(start, end, windows)]
    answered = [one for one in seen if one.failure is None]
    mixed = [m for one in answered if (m := mixture(one, references, token_ids)) is not None]
    warm = [sample for sample in memory if sample.num_swaps >= num_warm_up_swaps]
    versions = sorted({one.adapter or "" for one in answered})
    replicas = len(memory[-1].by_replica) if memory else 0
    return Figures(
        num_requests=len(seen),
        failures=tuple(one.failure for one in seen if one.failure is not None),
        mixed=tuple(mixed),
        by_version={version: sum(one.adapter == version for one in answered) for version in versions},
        steady=tail(steady),
        around=tail(around),
        to_last_replica=tail([swap.switched - swap.asked for swap in swaps]),
        num_loads=replicas * sum(swap.has_loaded for swap in swaps[num_warm_up_swaps:]),
        memory_before=_typical(warm[: max(1, len(warm) // 5)]),
        memory_after=_typical(warm[-max(1, len(warm) // 5) :]),
    )


def mixture(one: Seen, references: References, token_ids: Mapping[str, tuple[int, ...]]) -> str | None:
    """In words, where the answer is not, token by token, that of the version it says; none where it is."""
    if one.adapter is None or one.adapter not in references:
        return f"an answer by {one.adapter}, which the drill did not ask for"
    reference = references[one.adapter][one.question]
    ids = token_ids.get(one.response_id or "", reference.token_ids)
    if one.text == reference.text and ids == reference.token_ids:
        return None
    place = next((i for i, (a, b) in enumerate(zip(ids, reference.token_ids, strict=False)) if a != b), None)
    where = "in its length" if place is None else f"from token {place} on"
    return f"question {one.question} by {one.adapter} differs from its reference {where}: {one.text!r}"


def _gaps(one: Seen) -> list[tuple[float, float]]:
    return list(zip(one.arrivals, one.arrivals[1:], strict=False))


def _window(swap: Swap, seen: Sequence[Seen]) -> tuple[float, float]:
    """From the request to the last word by the version before: till then one batch holds both."""
    old = [one for one in seen if one.adapter == swap.was and one.began < swap.switched < one.ended]
    return swap.asked, max([swap.switched, *(one.ended for one in old)])


def _touches(start: float, end: float, windows: Sequence[tuple[float, float]]) -> bool:
    return any(start < window_end and end > window_start for window_start, window_end in windows)


def _typical(samples: Sequence[Memory]) -> dict[str, int]:
    """The median by replica."""
    names = {name for sample in samples for name in sample.by_replica}
    return {
        name: int(statistics.median([s.by_replica[name] for s in samples if name in s.by_replica]))
        for name in sorted(names)
    }
