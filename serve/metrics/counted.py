"""What takes the longer to count the more there is: who asks waits a second, then has the last one. Knows no store."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")

PATIENCE_S = 1.0
"""A count that takes no longer is made anew whenever somebody asks."""
REST = 20
"""How many times as long as it took a longer one is good: so counting takes a twentieth of a core of the database."""


@dataclass(frozen=True)
class Count(Generic[T]):
    value: T
    begun: float  # seconds since the epoch: what was written later is not in it


class Counted(Generic[T]):
    """`count` runs in a thread of its own, never twice at once."""

    def __init__(self, count: Callable[[], T], patience_s: float = PATIENCE_S) -> None:
        self._count = count
        self._patience_s = patience_s
        self._lock = threading.Lock()
        self._newest: Future[Count[T]] | None = None  # done or under way
        self._good_until = 0.0  # of `newest`, by the monotonic clock
        self._last: Count[T] | None = None

    def newest(self) -> Count[T] | None:
        """None where the first takes longer than who asks may wait. Raises what `count` raised."""
        with suppress(TimeoutError):
            return self._under_way().result(self._patience_s)
        return self._last

    def some(self) -> Count[T]:
        """As `newest`, but for the first one it waits as long as that takes."""
        return self.newest() or self._under_way().result()

    def _under_way(self) -> Future[Count[T]]:
        with self._lock:
            newest = self._newest
            if newest is None or (newest.done() and time.monotonic() >= self._good_until):
                newest = self._newest = Future()
                threading.Thread(target=self._make, args=(newest,), name="count", daemon=True).start()
            return newest

    def _make(self, made: Future[Count[T]]) -> None:
        begun, start = time.time(), time.monotonic()
        try:
            count = Count(self._count(), begun)
        except (
            Exception
        ) as error:  # for who waits; without anybody, the next one who asks has it counted again
            made.set_exception(error)
            return
        took_s = time.monotonic() - start
        self._last = count
        self._good_until = time.monotonic() + (REST * took_s if took_s > self._patience_s else 0.0)
        made.set_result(count)
