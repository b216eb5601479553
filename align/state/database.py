"""A SQL database opened the way Errata needs it: migrated, durable, writers queueing instead of failing."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DatabaseError, InterfaceError, OperationalError, TimeoutError

from ..errors import StateError
from .group_commit import GroupCommit
from .migrations import migrate
from .postgresql import PostgreSQL
from .sqlite import SQLite

T = TypeVar("T")

AWAY = (OperationalError, InterfaceError, TimeoutError)
"""What is raised where the database cannot be reached or used just now, or all connections to it are taken."""


class Database:
    """Open = migrate. `read()`, `write()` and `write_beside()` are transactions.

    Who writes by `write()` writes alone: nothing changes between what it reads and what it writes. `write_beside()` is
    for those who need no more than that nobody writes alone meanwhile; with PostgreSQL they write at the same time.

    A commit is on disk when it returns, and that takes as long as the disk does: what many threads write at once goes
    through `write_together`, which waits for the disk once for all of them.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._kind = _kind(url)
        self._group = GroupCommit(self.write_beside)
        try:
            self._kind.prepare()
            with self.write() as connection:
                migrate(connection)
        except (OSError, DatabaseError) as error:
            self.close()
            reason = str(error.orig).strip() if isinstance(error, DatabaseError) else error.strerror
            raise StateError(f"cannot use {self._kind.name} as a database: {reason}") from error
        except StateError:
            self.close()
            raise

    @property
    def engine(self) -> Engine:
        return self._kind.engine

    def read(self) -> AbstractContextManager[Connection]:
        """What it reads is as of one moment."""
        return self._kind.read()

    def write(self) -> AbstractContextManager[Connection]:
        return self._kind.write()

    def write_beside(self) -> AbstractContextManager[Connection]:
        return self._kind.write_beside()

    def write_together(self, work: Callable[[Connection], T]) -> T:
        """`write_beside()` for a function that may share its transaction with those of other threads.

        See `GroupCommit.run`: it may run twice. It must write in no other way than by its connection, and be
        quick: others wait for it.
        """
        return self._group.run(work)

    def empty_log(self) -> None:
        """Carry SQLite's write-ahead log into the database file: what was overwritten stands in it until then.

        Waits for those who read an older state. Raises `StateError` where one of them doesn't end.
        """
        self._kind.empty_log()

    def close(self) -> None:
        self.engine.dispose()


def open_engine(url: str) -> Engine:
    """For who looks at a database without bringing it to today's schema. Raises `StateError` on no such URL."""
    return _kind(url).engine


def _kind(url: str) -> SQLite | PostgreSQL:
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise StateError(
            "the database must be a URL, e.g. sqlite:////var/lib/errata/errata.db or postgresql://HOST/NAME"
        ) from error
    kinds: dict[str, Callable[..., SQLite | PostgreSQL]] = {
        "sqlite": SQLite,
        "postgresql": PostgreSQL,
        "postgres": PostgreSQL,
    }
    kind = kinds.get(parsed.get_backend_name())
    if kind is None:
        raise StateError(f"{parsed.get_backend_name()} is not supported; use sqlite:/// or postgresql://")
    return kind(parsed)
