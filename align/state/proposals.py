"""The version that was admitted to go live, and that nobody has proposed yet.

Left by the transaction that publishes it and settled by the one that proposes it, so that no crash in between forgets
it or does it twice. There is one at most: a newer one takes its place.
"""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import Connection, delete, insert, select, true

from . import schema
from .database import Database

TABLE = schema.adapters_to_propose


class Proposals:
    def __init__(self, database: Database) -> None:
        self._database = database

    def waiting(self) -> str | None:
        """The version, as long as it may serve."""
        adapters = schema.adapters.c
        may_serve = (adapters.status == "admitted") & adapters.tainted.is_(None)
        query = select(TABLE.c.version).where(adapters.version == TABLE.c.version, may_serve)
        with self._database.read() as connection:
            return connection.execute(query).scalar_one_or_none()


def leave_proposal(connection: Connection, version: str) -> None:
    connection.execute(insert(TABLE).values(version=version))


def settle_proposals(connection: Connection, versions: Collection[str] | None = None) -> None:
    """Of these versions, or whichever waits."""
    which = true() if versions is None else TABLE.c.version.in_(versions)
    connection.execute(delete(TABLE).where(which))
