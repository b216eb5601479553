"""A SQL database opened the way Errata needs it: migrated, durable, writers queueing instead of failing."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DatabaseError

from ..errors import StateError
from .group_commit import GroupCommit
from .migrations import migrate

T = TypeVar("T")

TIMEOUT_S = 30.0
"""How long a writer waits for another one."""


class Database:
    """Open = migrate. `read()` and `write()` are transactions; `write()` holds SQLite's one write lock.

    A commit is on disk when it returns, and that takes as long as the disk does: what many threads write at once goes
    through `write_together`, which waits for the disk once for all of them.
    """

    def __init__(self, url: str) -> None:
        try:
            parsed = make_url(url)
        except ArgumentError as error:
            raise StateError(
                f"{url!r} is no database URL; use e.g. sqlite:////var/lib/errata/errata.db"
            ) from error
        self.url = url
        self._file = parsed.database
        if parsed.get_backend_name() != "sqlite":
            raise StateError(f"{parsed.get_backend_name()} is not supported yet; use a sqlite:/// URL")
        if not parsed.database or parsed.database == ":memory:":
            raise StateError("the database must be a file: several processes share it")
        self._turn = (
            threading.Lock()
        )  # SQLite's own lock is asked for again and again; this one is waited for
        self._group = GroupCommit(self.write)
        self._engine = create_engine(parsed, connect_args={"timeout": TIMEOUT_S})
        event.listen(self._engine, "connect", _configure)
        event.listen(self._engine, "begin", _begin)
        try:
            Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
            with self.write() as connection:
                migrate(connection)
        except (OSError, DatabaseError) as error:
            self.close()
            reason = error.orig if isinstance(error, DatabaseError) else error.strerror
            raise StateError(f"cannot use {parsed.database} as a database: {reason}") from error
        except StateError:
            self.close()
            raise

    @contextmanager
    def read(self) -> Iterator[Connection]:
        with self._engine.begin() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        with self._turn, self._engine.execution_options(is_write=True).begin() as connection:
            yield connection

    def write_together(self, work: Callable[[Connection], T]) -> T:
        """`write()` for a function that may share its transaction with those of other threads: see `GroupCommit.run`.

        It must not write in any other way than by its connection, and should be quick: others wait for it.
        """
        return self._group.run(work)

    def empty_log(self) -> None:
        """Carry the write-ahead log into the database file: what was overwritten stands in it until then.

        Waits for those who read an older state. Raises `StateError` where one of them doesn't end.
        """
        connection = self._engine.raw_connection()
        deadline = time.monotonic() + TIMEOUT_S
        try:
            while connection.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]:  # 1: busy
                if time.monotonic() > deadline:
                    raise StateError(
                        f"erased words are still in {self._file}-wal, because another process reads the "
                        "database; end it and delete them once more"
                    )
                time.sleep(0.01)
        finally:
            connection.close()

    def close(self) -> None:
        self._engine.dispose()


def _configure(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # we say BEGIN ourselves
    _switch_to_wal(connection)
    # secure_delete: without it, erased text stays readable in the file's free space
    for pragma in ("synchronous=FULL", "foreign_keys=ON", "secure_delete=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _switch_to_wal(connection: sqlite3.Connection) -> None:
    """Unlike all other statements, this one does not wait while another process opens the same new file."""
    deadline = time.monotonic() + TIMEOUT_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            is_busy = error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY  # the higher bytes say why
            if not is_busy or time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def _begin(connection: Connection) -> None:
    # A deferred transaction that turns to writing fails at once when another one writes: take the lock first.
    is_write = connection.get_execution_options().get("is_write", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if is_write else "BEGIN")
