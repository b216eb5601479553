"""Which replicas are alive and what each has prepared.

By the database's clock, so it does not matter what those of their machines say. A heartbeat from the future is of a
clock that was set back since: its replica is dead, for one that is alive reports again and again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete, insert, select, update

from . import schema
from .database import Database
from .dialects import clock
from .rows import from_row, to_row


@dataclass(frozen=True)
class Replica:
    id: str
    heartbeat: float  # by its own clock where it is reported, by the database's where it is read
    url: str  # where its own /metrics answers; empty where it has none
    prepared: int  # the newest rollout generation all of whose adapters it holds
    failure: dict[str, Any] | None  # {"generation", "reason"} of a rollout that it could not prepare
    adapters: list[str]
    gap_p95_s: float | None = None  # between two tokens lately, 95th percentile; none where too few came


class Replicas:
    def __init__(self, database: Database) -> None:
        self._database = database

    def report(self, replica: Replica) -> None:
        values = {**to_row(replica), "heartbeat": clock()}
        table = schema.replicas
        with self._database.write_beside() as connection:  # each writes its own row
            done = connection.execute(update(table).where(table.c.id == replica.id).values(values))
            if done.rowcount == 0:
                connection.execute(insert(table).values(values))

    def remove(self, replica_id: str) -> None:
        with self._database.write_beside() as connection:
            connection.execute(delete(schema.replicas).where(schema.replicas.c.id == replica_id))

    def alive(self, within_s: float) -> list[Replica]:
        """Those whose heartbeat is not farther from now than so many seconds."""
        heartbeat = schema.replicas.c.heartbeat
        query = select(schema.replicas).where(heartbeat.between(clock() - within_s, clock() + within_s))
        with self._database.read() as connection:
            return [from_row(Replica, row) for row in connection.execute(query)]
