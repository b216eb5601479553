"""How many answers and corrections there are, by day, kind and version: counts alone, and no words.

Of the answers that this server gave, without those that somebody erased; what is merely old (`expiry.py`) counts on.
What a dataset brought, nobody said here.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from sqlalchemy import ColumnElement, Connection, func, select

from ..spans import KINDS
from . import schema
from .database import Database
from .dialects import elements_of, whole
from .responses import ANSWERS
from .wanted_responses import IMPORTED

DAY_S = 86_400
CORRECTED = "accepted"
COUNTED = ("accepted", "quarantined", "rejected", "nothing_wrong")
"""The statuses of corrections that a day has a number of."""


@dataclass(frozen=True)
class Day:
    """Of UTC."""

    number: int  # of days since the epoch
    num_answers: int
    num_corrections: dict[str, int] = field(default_factory=dict)  # by status, each of COUNTED


@dataclass(frozen=True)
class Tally:
    """Of one version's answers."""

    version: str
    num_answers: int
    num_corrected: int  # with a correction that teaches
    num_nothing_wrong: int  # of which somebody said so


class Statistics:
    def __init__(self, database: Database) -> None:
        self._database = database

    def by_day(self, last: int, num: int) -> list[Day]:
        """The last `num` days up to `last`, the oldest first, quiet ones included."""
        first = last - num + 1
        with self._database.read() as connection:
            answers = _answers_by_day(connection, first, last)
            corrections = _corrections_by_day(connection, first, last)
        return [
            Day(
                number,
                answers.get(number, 0),
                {status: corrections.get((number, status), 0) for status in COUNTED},
            )
            for number in range(first, last + 1)
        ]

    def kinds(self, last: int, num: int) -> dict[str, int]:
        """How many accepted spans there are of each kind, of the corrections of those days."""
        table = schema.corrections
        span = elements_of(table.c.spans)
        kind = span.c.value["kind"].as_string()
        query = (
            select(kind, func.count())
            .select_from(table.join(schema.responses, schema.responses.c.id == table.c.response_id))
            .join(span, table.c.spans.is_not(None))
            .where(
                _within(table.c.created, last - num + 1, last),
                table.c.status == CORRECTED,
                schema.responses.c.adapter != IMPORTED,
            )
            .group_by(kind)
        )
        with self._database.read() as connection:
            found = {row[0]: row[1] for row in connection.execute(query)}
        return {kind: found.get(kind, 0) for kind in KINDS}

    def by_version(self) -> list[Tally]:
        """Of all times, in the order of their names: the base comes first."""
        table = schema.responses.c
        given = select(table.adapter, func.count()).where(
            table.status.in_(ANSWERS), table.adapter != IMPORTED
        )
        with self._database.read() as connection:
            answers = {row[0]: row[1] for row in connection.execute(given.group_by(table.adapter))}
            corrected, nothing_wrong = (_with_status(connection, one) for one in (CORRECTED, "nothing_wrong"))
        return [
            Tally(version, number, corrected.get(version, 0), nothing_wrong.get(version, 0))
            for version, number in sorted(answers.items())
        ]


def _answers_by_day(connection: Connection, first: int, last: int) -> dict[int, int]:
    table = schema.responses.c
    day = _day(table.created)
    query = select(day, func.count()).where(
        table.status.in_(ANSWERS), table.adapter != IMPORTED, _within(table.created, first, last)
    )
    return {row[0]: row[1] for row in connection.execute(query.group_by(day))}


def _corrections_by_day(connection: Connection, first: int, last: int) -> dict[tuple[int, str], int]:
    """By day and status, on the day on which each was sent, whatever came of it later."""
    table, responses = schema.corrections, schema.responses
    day = _day(table.c.created)
    query = (
        select(day, table.c.status, func.count())
        .join(responses, responses.c.id == table.c.response_id)
        .where(
            _within(table.c.created, first, last),
            table.c.status.in_(COUNTED),
            responses.c.adapter != IMPORTED,
        )
        .group_by(day, table.c.status)
    )
    return {(row[0], row[1]): row[2] for row in connection.execute(query)}


def _with_status(connection: Connection, status: str) -> dict[str, int]:
    """By version, the answers that have a correction with it."""
    responses, corrections = schema.responses, schema.corrections
    query = (
        select(responses.c.adapter, func.count(responses.c.id.distinct()))
        .join(corrections, corrections.c.response_id == responses.c.id)
        .where(corrections.c.status == status)
        .group_by(responses.c.adapter)
    )
    return {row[0]: row[1] for row in connection.execute(query)}


def _day(created: ColumnElement[float]) -> ColumnElement[int]:
    return whole(created / DAY_S)


def _within(created: ColumnElement[float], first: int, last: int) -> ColumnElement[bool]:
    return (created >= first * DAY_S) & (created < (last + 1) * DAY_S)
