"""A record as series, each with the bound within which it counts as flat: fixed before anything was measured.

- Memory of a role: 2 %, or 4 MiB. CPython takes memory from the system 1 MiB at a time and glibc keeps what it was
  given back in pieces, so that a few MiB come and go in a process which leaks nothing; a picture of 96 x 96 kept by
  each of 10,000 requests is 260 MiB.
- Open files and threads of a role: 2. Between looks some come and go; one kept by each promotion would be 45 more.
- Pages of the database and lines of logs for one more answer: 5 and 10 %. Both grow with what is answered, on
  purpose, and must not grow faster; Ray also writes lines by the clock, which weigh more where answers are few.
- Bytes of a picture: 5 %. Scenes differ by what is in them.
- SQLite's write-ahead log: 4 MiB, what it holds between two times that it is emptied.
- Times to the first piece, between pieces and of a promotion, at their medians: 1.25 times, or 5 ms; at p99 1.5 times,
  or 20 ms, for a minute's p99 is its third worst of 240. A machine's own noise is about that.
- Tokens a second: 5 % less. People ask at a rate of their own, so fewer mean that they waited.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise

from .course import Look, Record
from .flatness import Bound, Points
from .footprint import ROLES, Footprint

MIB = 2.0**20


@dataclass(frozen=True)
class Series:
    unit: str  # B, s, or none for a count
    bound: Bound
    points: Points = field(repr=False)


MEMORY, HANDLES = Bound(0.02, 4 * MIB), Bound(0.0, 2.0)
MEDIAN, P99 = Bound(0.25, 0.005), Bound(0.5, 0.020)


def all_series(record: Record) -> Mapping[str, Series]:
    series: dict[str, Series] = {}
    for role in ROLES:
        if any(role in look.roles for look in record.looks):
            series[f"memory, {role}"] = Series("B", MEMORY, _of_role(record, role, lambda one: one.memory))
            series[f"open files, {role}"] = Series("", HANDLES, _of_role(record, role, lambda one: one.files))
            series[f"threads, {role}"] = Series("", HANDLES, _of_role(record, role, lambda one: one.threads))
    looks, periods = record.looks, record.periods
    series["database, for one more answer"] = Series("B", Bound(0.05), _per_answer(looks, _database))
    series["database's write-ahead log"] = Series(
        "B", Bound(0.0, 4 * MIB), [(o.at_s, o.room.log) for o in looks]
    )
    series["a picture"] = Series(
        "B", Bound(0.05), [(o.at_s, o.room.picture_bytes / max(1, o.room.pictures)) for o in looks]
    )
    series["logs, for one more answer"] = Series("B", Bound(0.1), _per_answer(looks, _logs))
    series["first piece, p50"] = Series(
        "s", MEDIAN, [(o.ended_s, o.first.p50) for o in periods if o.first.num]
    )
    series["first piece, p99"] = Series("s", P99, [(o.ended_s, o.first.p99) for o in periods if o.first.num])
    series["between pieces, p50"] = Series(
        "s", MEDIAN, [(o.ended_s, o.gap.p50) for o in periods if o.gap.num]
    )
    series["between pieces, p99"] = Series("s", P99, [(o.ended_s, o.gap.p99) for o in periods if o.gap.num])
    series["tokens a second"] = Series(
        "", Bound(0.05, is_lower=True), [(o.ended_s, o.tokens_per_s) for o in periods]
    )
    series["promotion to last replica"] = Series(
        "s", MEDIAN, [(at, swap.switched - swap.asked) for at, swap in record.swaps]
    )
    return series


def _of_role(record: Record, role: str, value: Callable[[Footprint], float]) -> Points:
    return [(look.at_s, value(look.roles.get(role, Footprint()))) for look in record.looks]


def _per_answer(looks: list[Look], value: Callable[[Look], float]) -> Points:
    """Between two looks."""
    return [
        (b.at_s, (value(b) - value(a)) / (b.room.answers - a.room.answers))
        for a, b in pairwise(looks)
        if b.room.answers > a.room.answers
    ]


def _database(look: Look) -> float:
    return look.room.database


def _logs(look: Look) -> float:
    return look.room.written_log
