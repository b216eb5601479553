"""Who looks at which answer now, so that several people are given different ones. Locks nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sqlalchemy import ColumnElement, Connection, delete, func, insert, select

from ..errors import Conflict, NotFound
from . import schema
from .database import Database
from .responses import Response, in_order, place_of
from .rows import from_row, to_row
from .wanted_responses import WantedResponses

Direction = Literal["next", "previous"]

MAX_COUNTED = 10_000
"""Waiting answers: whoever has so many in front of them need not know how many more."""

TABLE = schema.claims


@dataclass(frozen=True)
class Holder:
    """One window of one key's: a key cannot take what another one holds, whatever it calls itself."""

    key_id: str
    name: str


@dataclass(frozen=True)
class Claim:
    response_id: str
    key_id: str
    holder: str
    expires: float
    """Seconds since the epoch."""


class Claims:
    def __init__(self, database: Database) -> None:
        self._database = database

    def take_next(
        self,
        holder: Holder,
        wanted: WantedResponses,
        *,
        now: float,
        until: float,
        after: str | None = None,
        direction: Direction = "next",
    ) -> tuple[Claim, Response] | None:
        """Of the answers that nobody else holds, the first that is older than `after`, or newer for `previous`.

        What this holder held before is given back, even where there is no other. Raises `NotFound` where there is no
        such `after`.
        """
        with self._database.write() as connection:
            place = None if after is None else place_of(connection, after)
            _end_claims(connection, holder, now)
            is_held = select(TABLE).where(TABLE.c.response_id == schema.responses.c.id).exists()
            waiting = select(schema.responses).where(*wanted.conditions(), ~is_held)
            query = in_order(waiting, place, is_newest_first=direction == "next").limit(1)
            row = connection.execute(query).one_or_none()
            if row is None:
                return None
            response = from_row(Response, row)
            return _hold(connection, response.id, holder, until), response

    def take(self, holder: Holder, response_id: str, *, now: float, until: float) -> Claim:
        """That very answer, in the place of what this holder held before.

        Raises `Conflict` where somebody else holds it, and `NotFound` where it is not there or erased; then nothing
        changes.
        """
        with self._database.write() as connection:
            _end_claims(connection, holder, now)
            if (
                connection.execute(select(TABLE).where(TABLE.c.response_id == response_id)).first()
                is not None
            ):
                raise Conflict(f"somebody else is looking at {response_id!r} now; take the next one")
            table = schema.responses.c
            status = connection.execute(
                select(table.status).where(table.id == response_id)
            ).scalar_one_or_none()
            if status != "kept":
                raise NotFound(f"no response {response_id!r}, or it was erased")
            return _hold(connection, response_id, holder, until)

    def release(self, holder: Holder, response_id: str) -> bool:
        """Whether this holder held it."""
        with self._database.write() as connection:
            done = connection.execute(delete(TABLE).where(TABLE.c.response_id == response_id, _is_of(holder)))
        return done.rowcount == 1

    def count_waiting(self, holder: Holder, wanted: WantedResponses, now: float) -> int:
        """Answers that nobody else holds, at most `MAX_COUNTED`."""
        is_held_by_others = (
            select(TABLE)
            .where(TABLE.c.response_id == schema.responses.c.id, TABLE.c.expires > now, ~_is_of(holder))
            .exists()
        )
        waiting = select(schema.responses.c.id).where(*wanted.conditions(), ~is_held_by_others)
        counted = select(func.count()).select_from(waiting.limit(MAX_COUNTED).subquery())
        with self._database.read() as connection:
            return int(connection.execute(counted).scalar_one())


def _end_claims(connection: Connection, holder: Holder, now: float) -> None:
    """The holder's own, and all whose time is over: those that are left are others'."""
    connection.execute(delete(TABLE).where(TABLE.c.expires <= now))
    connection.execute(delete(TABLE).where(_is_of(holder)))


def _is_of(holder: Holder) -> ColumnElement[bool]:
    return (TABLE.c.key_id == holder.key_id) & (TABLE.c.holder == holder.name)


def _hold(connection: Connection, response_id: str, holder: Holder, until: float) -> Claim:
    claim = Claim(response_id, holder.key_id, holder.name, until)
    connection.execute(insert(TABLE).values(to_row(claim)))
    return claim
