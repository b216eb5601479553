"""Alignment runs: asked for, claimed by one aligner, ended with an adapter or a reason.

A `Run` that was claimed or taken up names its holder, and only as long as the row names the same one does it write.
"""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection, func, insert, select, update

from ..errors import Conflict, NotFound, TakenOver
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
    attempts: int = 1  # how often an aligner began or took up this run, those that outlived it aside
    last_sequence: int | None = None  # as its manifest says: who asks every second need not read all of that
    holder: str | None = None  # who does it: another name each time that it is claimed or taken up

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
            begun: dict[str, Any] = {"status": "running", "heartbeat": time.time(), "holder": _new_holder()}
            connection.execute(update(table).where(table.c.id == row.id).values(begun))
            return replace(from_row(Run, row), **begun)

    def update(self, run: Run, **values: Any) -> None:
        """Write status, manifest, progress, report, reason, adapter or attempts; an ended run stays as it ended.

        Raises `TakenOver` where the run has another holder since.
        """
        with self._database.write() as connection:
            update_run(connection, run, values)

    def under_way(self) -> list[Run]:
        """Oldest first. One aligner works at a time: what it finds here between its own runs, another one has left."""
        query = select(schema.runs).where(schema.runs.c.status.in_(UNDER_WAY)).order_by(schema.runs.c.created)
        with self._database.read() as connection:
            return [from_row(Run, row) for row in connection.execute(query)]

    def take_up(self, run: Run) -> Run:
        """A run that broke off, running again and one attempt older; whoever held it writes no more of it.

        Raises `TakenOver` where somebody else was faster.
        """
        begun = {"status": "running", "attempts": run.attempts + 1, "holder": _new_holder()}
        with self._database.write() as connection:
            update_run(connection, run, begun)
            return _get(connection, run.id)

    def outlived(self, run: Run) -> None:
        """One attempt less, whoever holds the run now: the one who made it lives. Nothing once the run has ended."""
        table = schema.runs
        is_this = (table.c.id == run.id) & table.c.status.in_(UNDER_WAY)
        with self._database.write() as connection:
            connection.execute(update(table).where(is_this).values(attempts=table.c.attempts - 1))

    def cancel(self, run_id: str) -> Run:
        """End it, whether it waits or is under way; whoever does it stops as soon as it looks.

        Its corrections count as seen, like those of a run that failed: else they would start the next one at once.
        Raises `NotFound`, and `Conflict` where it has ended already.
        """
        with self._database.write() as connection:
            run = _get(connection, run_id)  # whoever holds it
            manifest = run.manifest or {"last_sequence": last_sequence(connection)}
            ending = {"status": "cancelled", "reason": "cancelled on request", "manifest": manifest}
            if not update_run(connection, run, ending):
                raise Conflict(f"{run_id} is {run.status}; only a run that has not ended can be cancelled")
            return _get(connection, run_id)

    def check(self, run: Run) -> None:
        """Raises `Conflict` where the run was ended by somebody else, `TakenOver` where another one does it."""
        now = self.get(run.id)
        if now.is_ended:
            raise Conflict(f"{run.id} was ended meanwhile: {now.reason or now.status}")
        _check_holder(run, now.holder)

    def get(self, run_id: str) -> Run:
        """Raises `NotFound`."""
        with self._database.read() as connection:
            return _get(connection, run_id)

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
        # not of the newest run, which is another one where the clock was set back
        with self._database.read() as connection:
            return int(connection.execute(select(func.max(schema.runs.c.last_sequence))).scalar_one() or 0)


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


def update_run(connection: Connection, run: Run, values: dict[str, Any]) -> bool:
    """Whether the run had not ended yet; one that has stays as it ended. For who writes alone.

    Raises `TakenOver` where the run has another holder since.
    """
    table = schema.runs
    stored = connection.execute(select(table.c.status, table.c.holder).where(table.c.id == run.id)).one()
    if stored.status in ENDED:
        return False
    _check_holder(run, stored.holder)
    now = time.time()
    ended = {"ended": now} if values.get("status") in ENDED else {}
    manifest = values.get("manifest") or {}
    seen = {"last_sequence": manifest["last_sequence"]} if "last_sequence" in manifest else {}
    connection.execute(
        update(table).where(table.c.id == run.id).values(heartbeat=now, **values, **ended, **seen)
    )
    return True


def _get(connection: Connection, run_id: str) -> Run:
    row = connection.execute(select(schema.runs).where(schema.runs.c.id == run_id)).one_or_none()
    if row is None:
        raise NotFound(f"no run {run_id!r}")
    return from_row(Run, row)


def _new_holder() -> str:
    return uuid.uuid4().hex


def _check_holder(run: Run, holder: str | None) -> None:
    if holder != run.holder:
        raise TakenOver(f"another aligner has taken up {run.id}; it goes on there")
