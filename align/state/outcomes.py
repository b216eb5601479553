"""How each version's answers turned out, in the order in which it became known. Decides nothing.

Only answers whose version a rollout chose: who names a version in the request asks for another reason.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Select, Table, func, insert, literal, select, union_all

from . import schema
from .database import Database
from .responses import ANSWERS
from .rows import to_row

TOLD = ("stop", "length")
"""The finish reasons of answers that came to their end, and so could be read and corrected."""


@dataclass(frozen=True)
class Failure:
    """An answer that ended with an error; nothing of what was asked or said."""

    id: str
    created: float
    adapter: str
    generation: int | None
    reason: str


@dataclass(frozen=True)
class Generations:
    """From the first rollout to the last, both included."""

    first: int
    last: int


class Outcomes:
    def __init__(self, database: Database) -> None:
        self._database = database

    def add_failure(self, failure: Failure) -> None:
        with self._database.write_beside() as connection:
            connection.execute(insert(schema.failures).values(to_row(failure)))

    def corrected(
        self,
        adapter: str,
        generations: Generations,
        *,
        until: float,
        settled_s: float,
        limit: int,
        is_newest: bool = False,
    ) -> list[bool]:
        """Of the answers that ended by `until`, oldest first: whether each was corrected within `settled_s` of its end.

        Of more than `limit` the oldest, or the newest. Corrections in quarantine and those that say that nothing is
        wrong do not count, nor do answers that somebody erased. Those that expired do: nobody corrected them.
        """
        responses, corrections = schema.responses, schema.corrections
        ended = _ended()
        was_corrected = (
            select(corrections.c.id)
            .where(
                corrections.c.response_id == responses.c.id,
                corrections.c.status == "accepted",
                corrections.c.created <= ended + settled_s,
            )
            .exists()
        )
        query = select(was_corrected.label("outcome")).where(
            *_chosen(responses, adapter, generations),
            responses.c.status.in_(ANSWERS),
            responses.c.finish_reason.in_(TOLD),
            ended <= until,
        )
        return self._in_order(query, ended, limit, is_newest)

    def failed(
        self, adapter: str, generations: Generations, *, until: float, limit: int, is_newest: bool = False
    ) -> list[bool]:
        """Of the answers that ended by `until`, oldest first: whether each ended with an error.

        Of more than `limit` the oldest, or the newest.
        """
        responses, failures = schema.responses, schema.failures
        told = select(_ended().label("at"), literal(False).label("outcome")).where(
            *_chosen(responses, adapter, generations), responses.c.finish_reason.in_(TOLD)
        )
        failed = select(failures.c.created.label("at"), literal(True).label("outcome")).where(
            *_chosen(failures, adapter, generations)
        )
        both = union_all(told, failed).subquery()
        query = select(both.c.outcome).where(both.c.at <= until)
        return self._in_order(query, both.c.at, limit, is_newest)

    def count_corrected(self) -> dict[str, int]:
        """By adapter: how many of its answers have an accepted correction, whoever chose the version."""
        responses, corrections = schema.responses, schema.corrections
        query = (
            select(responses.c.adapter, func.count(responses.c.id.distinct()))
            .join(corrections, corrections.c.response_id == responses.c.id)
            .where(corrections.c.status == "accepted")
            .group_by(responses.c.adapter)
        )
        with self._database.read() as connection:
            return {row[0]: row[1] for row in connection.execute(query)}

    def _in_order(
        self, query: Select[Any], at: ColumnElement[float], limit: int, is_newest: bool
    ) -> list[bool]:
        ordered = query.order_by(at.desc() if is_newest else at).limit(limit)
        with self._database.read() as connection:
            outcomes = [bool(one) for one in connection.execute(ordered).scalars()]
        return outcomes[::-1] if is_newest else outcomes


def _ended() -> ColumnElement[float]:
    """When the last word was there, in seconds since the epoch."""
    responses = schema.responses.c
    return responses.created + func.coalesce(responses.timings["total_s"].as_float(), 0.0)


def _chosen(table: Table, adapter: str, generations: Generations) -> tuple[ColumnElement[bool], ...]:
    return (
        table.c.adapter == adapter,
        table.c.generation.between(generations.first, generations.last),
    )
