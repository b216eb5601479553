"""Who looks at which answer now, so that several people are given different ones. Locks nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import ColumnElement, Connection, Select, delete, func, insert, select

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

        What this holder held before is given back, unless there is no other. Raises `NotFound` where there is no such
        `after`.
        """
        is_held = select(TABLE).where(TABLE.c.response_id == schema.responses.c.id).exists()
        waiting = select(schema.responses).where(*wanted.conditions(), ~is_held)
        with self._database.write_beside() as connection:
            place = None if after is None else place_of(connection, after)
            held = connection.execute(
                select(TABLE).where(_is_of(holder), TABLE.c.expires > now).order_by(TABLE.c.expires.desc())
            ).first()  # who asks twice at once may hold two
            _end_claims(connection, holder, now)
            query = in_order(waiting, place, is_newest_first=direction == "next").limit(1)
            while (row := connection.execute(_locked(query, skip_locked=True)).one_or_none()) is not None:
                # of one who took it between the start of that query and its lock, only a later query can know
                if not _is_held(connection, row.id):
                    return _hold(connection, row.id, holder, until), from_row(Response, row)
            if held is not None and not _is_held(connection, held.response_id):
                connection.execute(insert(TABLE).values(held._asdict()))
            return None

    def take(self, holder: Holder, response_id: str, *, now: float, until: float) -> Claim:
        """That very answer, in the place of what this holder held before.

        Raises `Conflict` where somebody else holds it, and `NotFound` where it is not there or erased; then nothing
        changes.
        """
        table = schema.responses.c
        status = select(table.status).where(table.id == response_id)
        with self._database.write_beside() as connection:
            _end_claims(connection, holder, now)
            found = connection.execute(_locked(status)).scalar_one_or_none()
            if _is_held(connection, response_id):
                raise Conflict(f"somebody else is looking at {response_id!r} now; take the next one")
            if found != "kept":
                raise NotFound(f"no response {response_id!r}, or it was erased")
            return _hold(connection, response_id, holder, until)

    def release(self, holder: Holder, response_id: str) -> bool:
        """Whether this holder held it."""
        with self._database.write_beside() as connection:
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
    is_over = (TABLE.c.expires <= now) | _is_of(holder)
    # what another one ends just now is passed over: two who wait for each other's rows would wait for ever
    ids = select(TABLE.c.response_id).where(is_over).with_for_update(skip_locked=True)
    connection.execute(delete(TABLE).where(TABLE.c.response_id.in_(ids), is_over))


def _locked(query: Select[Any], *, skip_locked: bool = False) -> Select[Any]:
    """Against others who would hold the answer; corrections of it may come meanwhile."""
    return query.with_for_update(of=schema.responses, key_share=True, skip_locked=skip_locked)


def _is_held(connection: Connection, response_id: str) -> bool:
    return connection.execute(select(TABLE).where(TABLE.c.response_id == response_id)).first() is not None


def _is_of(holder: Holder) -> ColumnElement[bool]:
    return (TABLE.c.key_id == holder.key_id) & (TABLE.c.holder == holder.name)


def _hold(connection: Connection, response_id: str, holder: Holder, until: float) -> Claim:
    claim = Claim(response_id, holder.key_id, holder.name, until)
    connection.execute(insert(TABLE).values(to_row(claim)))
    return claim
