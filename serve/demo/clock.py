"""Seconds of each part of a story."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Clock:
    def __init__(self) -> None:
        self._started = time.monotonic()
        self._parts: dict[str, float] = {}

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        started = time.monotonic()
        yield
        self._parts[name] = time.monotonic() - started

    @property
    def seconds(self) -> dict[str, float]:
        return {**self._parts, "total": time.monotonic() - self._started}
