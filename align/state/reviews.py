"""Which corrections wait for a reviewer, and how each was settled. What is reviewed once stays as it was settled."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence

from sqlalchemy import Connection, func, literal, select, update

from ..errors import Conflict, NotFound
from . import schema
from .corrections import Correction, last_sequence
from .database import Database
from .rows import from_row
from .taint import taint

TABLE = schema.corrections
IS_WAITING = TABLE.c.status == literal("quarantined", literal_execute=True)
"""Not as a parameter: SQLite takes the index of those that wait only where it reads that they are asked for."""


class Reviews:
    def __init__(self, database: Database) -> None:
        self._database = database

    def waiting(self, limit: int, after: int = 0) -> list[Correction]:
        """The quarantined ones whose `sequence` is above `after`, in order of arrival."""
        query = select(TABLE).where(IS_WAITING, TABLE.c.sequence > after)
        with self._database.read() as connection:
            rows = connection.execute(query.order_by(TABLE.c.sequence).limit(limit))
            return [from_row(Correction, row) for row in rows]

    def waiting_on(self, image_group: str) -> list[Correction]:
        """The quarantined ones that inserted something over these images."""
        insertions = schema.insertions
        ids = select(insertions.c.correction_id).where(insertions.c.image_group == image_group)
        query = select(TABLE).where(IS_WAITING, TABLE.c.id.in_(ids))
        with self._database.read() as connection:
            return [from_row(Correction, row) for row in connection.execute(query)]

    def count_by_reason(self) -> dict[str, int]:
        """Of those that wait."""
        query = select(TABLE.c.reason, func.count()).where(IS_WAITING)
        with self._database.read() as connection:
            rows = connection.execute(query.group_by(TABLE.c.reason)).all()
        return {row[0] or "": row[1] for row in rows}

    def hold(
        self,
        phrases: Collection[str],
        reason: str,
        weaker: Sequence[str],
        sources: Collection[str] | None = None,
    ) -> int:
        """Quarantine what inserted one of the phrases, by some sources or by anyone; returns how many.

        Those that wait for one of the `weaker` reasons wait for this one now. What a reviewer or others released
        stays released.
        """
        insertions = schema.insertions
        ids = select(insertions.c.correction_id).where(insertions.c.phrase.in_(phrases))
        if sources is not None:
            ids = ids.where(insertions.c.source.in_(sources))
        is_free = (TABLE.c.status == "accepted") & TABLE.c.reason.is_(None)
        is_weaker = IS_WAITING & TABLE.c.reason.in_(weaker)
        held = {"status": "quarantined", "reason": reason, "questioned": sorted(phrases)}
        with self._database.write() as connection:
            done = connection.execute(
                update(TABLE)
                .where(TABLE.c.id.in_(ids), TABLE.c.reviewed.is_(None), is_free | is_weaker)
                .values(held)
            )
        return done.rowcount

    def corroborate(self, correction_id: str) -> bool:
        """Release it because others say the same; whether it was still waiting. It counts as new, not as reviewed."""
        with self._database.write() as connection:
            return _settle(connection, correction_id, _released(connection))

    def release(self, correction_id: str, reviewer: str) -> Correction:
        """It teaches from now on, and counts as new. Raises `NotFound`, and `Conflict` where it does not wait."""
        insertions = schema.insertions
        its_own = insertions.c.correction_id == correction_id
        with self._database.write() as connection:
            correction = _review(connection, correction_id, reviewer, _released(connection))
            connection.execute(update(insertions).where(its_own).values(is_reviewed=1))
        return correction

    def reject(self, correction_id: str, reviewer: str) -> Correction:
        """It never teaches, and the adapters that learned from it before it was held are tainted.

        Raises `NotFound`, and `Conflict` where it does not wait.
        """
        with self._database.write() as connection:
            correction = _review(connection, correction_id, reviewer, {"status": "rejected"})
            taint(connection, {correction_id}, "review")
        return correction


def _review(
    connection: Connection, correction_id: str, reviewer: str, outcome: dict[str, object]
) -> Correction:
    reviewed = {**outcome, "reviewed": time.time(), "reviewer": reviewer}
    is_settled = _settle(connection, correction_id, reviewed)
    row = connection.execute(select(TABLE).where(TABLE.c.id == correction_id)).one_or_none()
    if row is None:
        raise NotFound(f"no correction {correction_id!r}")
    if not is_settled:
        raise Conflict(f"{correction_id} is {row.status}; only a quarantined correction is reviewed")
    return from_row(Correction, row)


def _released(connection: Connection) -> dict[str, object]:
    return {"status": "accepted", "effective_sequence": last_sequence(connection) + 1}


def _settle(connection: Connection, correction_id: str, values: dict[str, object]) -> bool:
    is_waiting = (TABLE.c.id == correction_id) & IS_WAITING
    return connection.execute(update(TABLE).where(is_waiting).values(values)).rowcount == 1
