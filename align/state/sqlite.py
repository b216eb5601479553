"""SQLite as Errata needs it: one file that several processes share, in WAL mode, each commit forced to the disk."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, create_engine, event

from ..errors import StateError

TIMEOUT_S = 30.0
"""How long a writer waits for another one."""


class SQLite:
    def __init__(self, url: URL) -> None:
        if not url.database or url.database == ":memory:":
            raise StateError("the database must be a file: several processes share it")
        self.name = url.database
        # SQLite's own lock is asked for again and again; this one is waited for
        self._turn = threading.Lock()
        self.engine = create_engine(url, connect_args={"timeout": TIMEOUT_S}, hide_parameters=True)
        event.listen(self.engine, "connect", _configure)
        event.listen(self.engine, "begin", _begin)

    def prepare(self) -> None:
        """The folder of a new file. Raises `OSError`."""
        Path(self.name).parent.mkdir(parents=True, exist_ok=True)

    @contextmanager
    def read(self) -> Iterator[Connection]:
        with self.engine.begin() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        with self._turn, self.engine.execution_options(is_write=True).begin() as connection:
            yield connection

    write_beside = write  # there is one writer at a time

    def empty_log(self) -> None:
        """Raises `StateError` where somebody reads an older state for too long."""
        connection = self.engine.raw_connection()
        deadline = time.monotonic() + TIMEOUT_S
        try:
            while connection.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]:  # 1: busy
                if time.monotonic() > deadline:
                    raise StateError(
                        f"erased words are still in {self.name}-wal, because another process reads the "
                        "database; end it and delete them once more"
                    )
                time.sleep(0.01)
        finally:
            connection.close()


def _configure(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # we say BEGIN ourselves
    _switch_to_wal(connection)
    # secure_delete: without it, erased text stays readable in the file's free space. cache_size, in KiB, of each of
    # up to 15 connections a process: no faster with more, as the system keeps the file's pages, too
    for pragma in ("synchronous=FULL", "foreign_keys=ON", "secure_delete=ON", "cache_size=-512"):
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
