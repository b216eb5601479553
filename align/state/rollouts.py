"""Which versions answer, by generation. One is prepared by all replicas, then committed or abandoned.

The one in force is the newest committed generation whose moment has come; before the first it is the base.
"""

from __future__ import annotations

import time
from collections.abc import Collection
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, func, insert, select, update

from ..errors import Conflict
from . import schema
from .database import Database
from .proposals import settle_proposals
from .rows import from_row, to_row

BASE = "base"
STATUSES = ("preparing", "committed", "abandoned")


@dataclass(frozen=True)
class Terms:
    """How a new version is judged against the one before while both answer; fixed when it is proposed."""

    alpha: float  # the chance that one which is as good is rolled back
    settled_s: float  # how long after an answer a correction of it counts, and how long it is waited for
    num_answers: int  # of the new version, after which it has stood the test


@dataclass(frozen=True)
class Rollout:
    generation: int
    created: float
    status: str  # one of STATUSES
    live: str
    candidate: str | None
    share: float  # of new requests that the candidate answers, 0 to 1
    prepare_by: float
    effective_at: float | None = None
    reason: str | None = None
    terms: dict[str, Any] | None = None  # Terms; none where nothing is judged

    @property
    def as_terms(self) -> Terms | None:
        return None if self.terms is None else Terms(**self.terms)

    @property
    def versions(self) -> tuple[str, ...]:
        """The adapter versions that a replica must hold to serve it, the base aside."""
        return tuple(v for v in (self.live, self.candidate) if v is not None and v != BASE)


INITIAL = Rollout(0, 0.0, "committed", BASE, None, 0.0, 0.0, 0.0)


@dataclass(frozen=True)
class Desired:
    """What all replicas are to serve, as read in one moment."""

    committed: tuple[Rollout, ...]  # newest first, the initial one at the end
    preparing: Rollout | None = None
    withheld: frozenset[str] = frozenset()
    """Versions that may not serve any more, though one of them may still be in force."""

    def in_force(self, now: float) -> Rollout:
        """The newest one whose moment has come."""
        return next(r for r in self.committed if r.effective_at is not None and r.effective_at <= now)

    def previous(self, in_force: Rollout) -> str:
        """The version that answered before the one in force and may still serve; the base before the first."""
        for rollout in self.committed:
            is_older = rollout.generation < in_force.generation
            if is_older and rollout.live not in {in_force.live, *self.withheld}:
                return rollout.live
        return BASE

    def live(self, now: float) -> str:
        """The version that answers, or, where it may not serve any more, the one to go back to."""
        in_force = self.in_force(now)
        return self.previous(in_force) if in_force.live in self.withheld else in_force.live


class Rollouts:
    def __init__(self, database: Database) -> None:
        self._database = database

    def propose(
        self,
        live: str,
        candidate: str | None = None,
        share: float = 0.0,
        *,
        prepare_s: float = 60.0,
        based_on: Rollout | None = None,
        terms: Terms | None = None,
        reason: str | None = None,
    ) -> Rollout:
        """Ask all replicas to prepare a new generation; with `terms` it is judged once it is in force.

        `based_on` is the one in force from which this was decided. Raises `Conflict` while another generation is
        under way, where another one than `based_on` is in force, and where an adapter may not serve.

        Without a `reason` somebody asked for it: a version that still waits to be proposed is settled by that, too.
        """
        table = schema.rollouts
        with self._database.write() as connection:
            now = time.time()
            desired = _desired(connection)
            if desired.preparing is not None:
                raise Conflict("another rollout is being prepared; wait until it is committed or abandoned")
            in_force = desired.in_force(now)
            if in_force != desired.committed[0]:
                raise Conflict("another rollout takes effect in a moment; ask again then")
            if based_on is not None and based_on.generation != in_force.generation:
                raise Conflict("another rollout came in between; look at it and ask again")
            for version in {live, candidate} - {BASE, None}:
                _check_may_serve(connection, str(version))
            last = connection.execute(select(func.coalesce(func.max(table.c.generation), 0))).scalar_one()
            rollout = Rollout(
                generation=last + 1,
                created=now,
                status="preparing",
                live=live,
                candidate=candidate,
                share=share,
                prepare_by=now + prepare_s,
                reason=reason,
                terms=None if terms is None else asdict(terms),
            )
            connection.execute(insert(table).values(to_row(rollout)))
            settle_proposals(connection, None if reason is None else rollout.versions)
        return rollout

    def commit(self, generation: int, ahead_s: float) -> bool:
        """To hold `ahead_s` from now. Whether this call did it: of several replicas, one wins.

        The moment is chosen while the write lock is held: a wait for the lock would use it up.
        """
        with self._database.write() as connection:
            values = {"status": "committed", "effective_at": time.time() + ahead_s}
            return _leave_preparing(connection, generation, values)

    def bring_forward(self, generation: int, now: float) -> None:
        """One whose moment lies in the future by a clock that was set back since holds from `now` on."""
        table = schema.rollouts
        is_to_come = (table.c.status == "committed") & (table.c.effective_at > now)
        with self._database.write() as connection:
            connection.execute(
                update(table).where(table.c.generation == generation, is_to_come).values(effective_at=now)
            )

    def abandon(self, generation: int, reason: str) -> bool:
        with self._database.write() as connection:
            return _leave_preparing(connection, generation, {"status": "abandoned", "reason": reason})

    def newest(self) -> Rollout:
        """Whatever became of it; the initial one (the base alone) before the first."""
        query = select(schema.rollouts).order_by(schema.rollouts.c.generation.desc()).limit(1)
        with self._database.read() as connection:
            row = connection.execute(query).one_or_none()
        return INITIAL if row is None else from_row(Rollout, row)

    def count_by_status(self) -> dict[str, int]:
        table = schema.rollouts
        query = select(table.c.status, func.count()).group_by(table.c.status)
        with self._database.read() as connection:
            return {row[0]: row[1] for row in connection.execute(query)}

    def naming(self, version: str) -> list[Rollout]:
        """All that ever named the version, oldest first, whatever became of them."""
        table = schema.rollouts
        query = select(table).where((table.c.live == version) | (table.c.candidate == version))
        with self._database.read() as connection:
            rows = connection.execute(query.order_by(table.c.generation))
            return [from_row(Rollout, row) for row in rows]

    def desired(self) -> Desired:
        with self._database.read() as connection:
            return _desired(connection)

    def in_force(self, now: float | None = None) -> Rollout:
        return self.desired().in_force(time.time() if now is None else now)


def named_versions(connection: Connection) -> set[str]:
    """The versions that answer now, or that a rollout under way will let answer."""
    desired = _desired(connection)
    in_force = desired.in_force(time.time())
    coming = [rollout for rollout in desired.committed if rollout.generation > in_force.generation]
    rollouts = [in_force, *coming, *([desired.preparing] if desired.preparing is not None else [])]
    return {version for rollout in rollouts for version in rollout.versions}


def _desired(connection: Connection, limit: int = 100) -> Desired:
    table = schema.rollouts
    newest_first = select(table).order_by(table.c.generation.desc())
    committed = newest_first.where(table.c.status == "committed").limit(limit)
    preparing = connection.execute(newest_first.where(table.c.status == "preparing")).first()
    adapters = schema.adapters
    withheld = select(adapters.c.version).where(~_may_serve())
    return Desired(
        (*(from_row(Rollout, row) for row in connection.execute(committed)), INITIAL),
        None if preparing is None else from_row(Rollout, preparing),
        frozenset(connection.execute(withheld).scalars()),
    )


def _check_may_serve(connection: Connection, version: str) -> None:
    table = schema.adapters
    row = connection.execute(select(table).where(table.c.version == version)).one_or_none()
    if row is None or row.status != "admitted":
        raise Conflict(
            f"{version} is {'not known' if row is None else row.status}; only an admitted adapter may serve"
        )
    if row.tainted is not None:
        raise Conflict(
            f"what {version} learned from was erased or rejected; serve one that was trained without it"
        )


def _may_serve() -> ColumnElement[bool]:
    table = schema.adapters
    return (table.c.status == "admitted") & table.c.tainted.is_(None)


def abandon_preparing(connection: Connection, versions: Collection[str], reason: str) -> None:
    """End a rollout under way that names one of the versions."""
    table = schema.rollouts
    names_one = table.c.live.in_(versions) | table.c.candidate.in_(versions)
    connection.execute(
        update(table)
        .where(table.c.status == "preparing", names_one)
        .values(status="abandoned", reason=reason)
    )


def _leave_preparing(connection: Connection, generation: int, values: dict[str, object]) -> bool:
    table = schema.rollouts
    done = connection.execute(
        update(table).where(table.c.generation == generation, table.c.status == "preparing").values(values)
    )
    return done.rowcount == 1
