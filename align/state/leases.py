"""Which of several processes does what only one may do at a time: it holds a lease, and renews it before that expires.

By the database's clock, so it does not matter what those of their machines say. Where that one is set back, a holder
that lives renews its lease soon; one that reaches into the future farther than anybody can have asked for is nobody's
any more. Knows nothing of what is done with it.
"""

from __future__ import annotations

from sqlalchemy import delete, insert, select, update

from . import schema
from .database import Database
from .dialects import clock

TABLE = schema.leases

LONGEST_S = 120.0
"""No lease is longer: so far ahead of the clock none can have been taken."""


class Leases:
    def __init__(self, database: Database) -> None:
        self._database = database

    def take(self, name: str, holder: str, seconds: float) -> bool:
        """Whether `holder` has it for so many seconds from now on: it was free, had expired, or was its own.

        Raises `ValueError` where these are more than `LONGEST_S`.
        """
        if seconds > LONGEST_S:
            raise ValueError(
                f"a lease of {seconds:g} s: others would take one of more than {LONGEST_S:g} s for lost"
            )
        values = {"holder": holder, "expires": clock() + seconds}
        is_over = (TABLE.c.expires <= clock()) | (TABLE.c.expires > clock() + seconds + LONGEST_S)
        is_to_have = (TABLE.c.holder == holder) | is_over
        with self._database.write() as connection:
            if connection.execute(select(TABLE).where(TABLE.c.name == name)).first() is None:
                connection.execute(insert(TABLE).values(name=name, **values))
                return True
            done = connection.execute(update(TABLE).where(TABLE.c.name == name, is_to_have).values(values))
        return done.rowcount == 1

    def release(self, name: str, holder: str) -> None:
        """Free for the next; nothing where somebody else has it."""
        with self._database.write() as connection:
            connection.execute(delete(TABLE).where(TABLE.c.name == name, TABLE.c.holder == holder))
