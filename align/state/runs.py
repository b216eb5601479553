"""Alignment runs: asked for, claimed by one aligner, ended with an adapter or a reason."""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection, insert, select, update

from ..errors import Conflict, NotFound
from . import schema
from .corrections import last_sequence
from .database import Database
from .rows import from_row, to_row

JUDGED = ("admitted", "refused", "held")
ENDED = (*JUDGED, "failed", "cancelled")
UNDER_WAY = ("running", "gating")
TRIGGERS = ("count", "request", "review", "erasure")
"""From the weakest reason for a run to the strongest."""


@dataclass(frozen=True)
class Run:
    id: str
    created: float
    status: str  # requested | running | gating, or one of ENDED
    trigger: str  # count | request | review | erasure
    heartbeat: float | None = None
    ended: float | None = None
    manifest: dict[str, Any] | None = None
    progress: dict[str, Any] | None = None
    report: dict[str, Any] | None = None
    reason: str | None = None
    adapter: str | None = None
    attempts: int = 1  # how often an aligner began or took up this run
    last_sequence: int | None = None  # as its manifest says: who asks every second need not read all of that

    @property
    def is_ended(self) -> bool:
        return self.status in ENDED


class Runs:
    def __init__(self, database: Database) -> None:
        self._database = database

    def request(self, trigger: str) -> Run:
        """A new run, or the one that is already waiting: asking twice is asking once."""
        with self._database.write() as connection:
            return request_run(connection, trigger)

    def claim(self) -> Run | None:
        """The oldest requested run, now running; none where there is nothing to do."""
        table = schema.runs
        oldest = select(table).where(table.c.status == "requested").order_by(table.c.created).limit(1)
        with self._database.write_beside() as connection:
            row = connection.execute(oldest.with_for_update(skip_locked=True)).first()
            if row is None:
                return None
            connection.execute(
                update(table).where(table.c.id == row.id).values(status="running", heartbeat=time.time())
            )
        return self.get(row.id)

    def update(self, run_id: str, **values: Any) -> None:
        """Write status, manifest, progress, report, reason, adapter or attempts; an ended run stays as it ended."""
        with self._database.write() as connection:
            update_run(connection, run_id, values)

    def under_way(self) -> list[Run]:
        """Oldest first. There is one aligner, so at its start these are what a dead one has left."""
        query = select(schema.runs).where(schema.runs.c.status.in_(UNDER_WAY)).order_by(schema.runs.c.created)
        with self._database.read() as connection:
            return [from_row(Run, row) for row in connection.execute(query)]

    def take_up(self, run_id: str) -> Run:
        """A run that broke off, running again and one attempt older."""
        table = schema.runs
        with self._database.write() as connection:
            connection.execute(
                update(table)
                .where(table.c.id == run_id, table.c.status.in_(UNDER_WAY))
                .values(status="running", heartbeat=time.time(), attempts=table.c.attempts + 1)
            )
        return self.get(run_id)

    def cancel(self, run_id: str) -> Run:
        """End it, whether it waits or is under way; whoever does it stops as soon as it looks.

        Its corrections count as seen, like those of a run that failed: else they would start the next one at once.
        Raises `NotFound`, and `Conflict` where it has ended already.
        """
        run = self.get(run_id)
        with self._database.write() as connection:
            query = select(schema.runs.c.manifest).where(schema.runs.c.id == run_id)
            manifest = connection.execute(query).scalar_one() or {"last_sequence": last_sequence(connection)}
            ending = {"status": "cancelled", "reason": "cancelled on request", "manifest": manifest}
            if not update_run(connection, run_id, ending):
                raise Conflict(f"{run_id} is {run.status}; only a run that has not ended can be cancelled")
        return self.get(run_id)

    def check(self, run_id: str) -> None:
        """Raises `Conflict` where the run was ended by somebody else."""
        if (run := self.get(run_id)).is_ended:
            raise Conflict(f"{run_id} was ended meanwhile: {run.reason or run.status}")

    def get(self, run_id: str) -> Run:
        """Raises `NotFound`."""
        with self._database.read() as connection:
            row = connection.execute(select(schema.runs).where(schema.runs.c.id == run_id)).one_or_none()
        if row is None:
            raise NotFound(f"no run {run_id!r}")
        return from_row(Run, row)

    def recent(self, limit: int = 100) -> list[Run]:
        """Newest first."""
        query = select(schema.runs).order_by(schema.runs.c.created.desc()).limit(limit)
        with self._database.read() as connection:
            return [from_row(Run, row) for row in connection.execute(query)]

    def statuses(self, limit: int = 100) -> list[str]:
        """Newest first."""
        table = schema.runs
        query = select(table.c.status).order_by(table.c.created.desc()).limit(limit)
        with self._database.read() as connection:
            return list(connection.execute(query).scalars())

    def heartbeats(self) -> list[float]:
        """When those under way were last heard of."""
        table = schema.runs
        query = select(table.c.heartbeat).where(table.c.status.in_(UNDER_WAY), table.c.heartbeat.is_not(None))
        with self._database.read() as connection:
            return list(connection.execute(query).scalars())

    def newest_progress(self) -> dict[str, Any] | None:
        """How far the newest run is, or was at its end, of those that began to train."""
        table = schema.runs
        query = select(table.c.progress).order_by(table.c.created.desc())
        with self._database.read() as connection:
            return next((one for one in connection.execute(query.limit(100)).scalars() if one), None)

    def newest_report(self) -> dict[str, Any] | None:
        """Of the newest run that the gate judged."""
        table = schema.runs
        query = select(table.c.report).where(table.c.status.in_(JUDGED)).order_by(table.c.created.desc())
        with self._database.read() as connection:
            return next((one for one in connection.execute(query.limit(100)).scalars() if one), None)

    def learned_up_to(self) -> int:
        """The `effective_sequence` of the newest correction that a run has seen; 0 before the first."""
        table = schema.runs
        query = select(table.c.last_sequence).where(table.c.last_sequence.is_not(None))
        with self._database.read() as connection:
            newest = connection.execute(query.order_by(table.c.created.desc()).limit(1))
            return int(newest.scalar_one_or_none() or 0)


def request_run(connection: Connection, trigger: str) -> Run:
    """As `Runs.request`. A run that waits keeps the strongest of the reasons for which it was asked for."""
    table = schema.runs
    row = connection.execute(select(table).where(table.c.status == "requested")).first()
    if row is None:
        run = Run(id=f"run-{uuid.uuid4().hex}", created=time.time(), status="requested", trigger=trigger)
        connection.execute(insert(table).values(to_row(run)))
        return run
    waiting = from_row(Run, row)
    strongest = max(waiting.trigger, trigger, key=TRIGGERS.index)
    connection.execute(update(table).where(table.c.id == waiting.id).values(trigger=strongest))
    return replace(waiting, trigger=strongest)


def update_run(connection: Connection, run_id: str, values: dict[str, Any]) -> bool:
    """Whether the run was still under way; one that has ended stays as it ended."""
    table = schema.runs
    now = time.time()
    ended = {"ended": now} if values.get("status") in ENDED else {}
    manifest = values.get("manifest") or {}
    seen = {"last_sequence": manifest["last_sequence"]} if "last_sequence" in manifest else {}
    done = connection.execute(
        update(table)
        .where(table.c.id == run_id, table.c.status.not_in(ENDED))
        .values(heartbeat=now, **values, **ended, **seen)
    )
    return done.rowcount == 1
