"""Writes of many threads in one transaction, so that they share what is slow: the wait for the disk. Knows no table.

Whoever comes while nobody writes commits for all who wait by then; whoever waited longest writes next.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, TypeVar, cast

from sqlalchemy import Connection
from sqlalchemy.exc import OperationalError

T = TypeVar("T")

MAX_BATCH = 256
"""Of writes in a transaction: its first one waits for its last."""


class _Write:
    """One thread's part of a batch. Woken when it is done, or else to lead the next batch."""

    def __init__(self, work: Callable[[Connection], Any]) -> None:
        self.work = work
        self.woken = threading.Event()
        self.is_done = False
        self.result: Any = None
        self.error: BaseException | None = None


class GroupCommit:
    def __init__(self, transaction: Callable[[], AbstractContextManager[Connection]]) -> None:
        self._transaction = transaction
        self._lock = threading.Lock()  # guards the two below
        self._waiting: list[_Write] = []
        self._is_led = False

    def run(self, work: Callable[[Connection], T]) -> T:
        """What `work` returns, when it is on disk; what it raises, when nothing of it is.

        It may run in another thread, inside a transaction in which others write before and after it. Where one of
        them raises, it alone is undone, and all of them run a second time for that: what `work` does beside the
        database must do no harm twice. Where the transaction fails as a whole, each of them gets that error.
        """
        write = _Write(work)
        with self._lock:
            self._waiting.append(write)
            leads, self._is_led = not self._is_led, True
        if not leads:
            write.woken.wait()
        if not write.is_done:
            self._lead()
        if write.error is not None:
            raise write.error
        return cast(T, write.result)

    def _lead(self) -> None:
        with self._lock:
            batch, self._waiting = self._waiting[:MAX_BATCH], self._waiting[MAX_BATCH:]
        try:
            self._commit(batch)
        except BaseException as error:
            for write in batch:
                write.error = error
        for write in batch:
            write.is_done = True
        with self._lock:
            self._is_led = bool(self._waiting)
            following = batch[1:] + self._waiting[:1]
        for write in following:
            write.woken.set()

    def _commit(self, batch: Sequence[_Write]) -> None:
        try:
            with self._transaction() as connection:
                for write in batch:
                    write.result = write.work(connection)
        except OperationalError:  # of the database itself, and so of all of them
            raise
        except Exception:
            if len(batch) == 1:
                raise
            self._commit_each(batch)

    def _commit_each(self, batch: Sequence[_Write]) -> None:
        """One of them raises: so that it is undone alone, each is guarded, which takes twice as long."""
        with self._transaction() as connection:
            for write in batch:
                try:
                    with _savepoint(connection):
                        write.result = write.work(connection)
                except OperationalError:  # which may have ended the transaction by then
                    raise
                except Exception as error:
                    write.error = error


@contextmanager
def _savepoint(connection: Connection) -> Iterator[None]:
    """SQLAlchemy's own takes as long as the insert that it guards."""
    connection.exec_driver_sql("SAVEPOINT a_write")
    try:
        yield
    except Exception:
        connection.exec_driver_sql("ROLLBACK TO SAVEPOINT a_write")
        raise
    finally:
        connection.exec_driver_sql("RELEASE SAVEPOINT a_write")
