"""How what an engine's thread says reaches a request: in order, and several tokens at once where they come fast."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress

from serve.engine.protocol import Delta


def merged(deltas: Sequence[Delta]) -> Delta:
    """Several of one sequence as one; only the last can have a finish reason."""
    return Delta(
        tuple(token_id for delta in deltas for token_id in delta.token_ids),
        "".join(delta.text for delta in deltas),
        deltas[-1].finish_reason,
        deltas[-1].error,
        tuple(entry for delta in deltas for entry in delta.logprobs),
        sum(delta.num_reused_tokens for delta in deltas),
    )


class Inbox:
    """What has come for one request and nobody has read. Used on the event loop alone."""

    def __init__(self, on_gap: Callable[[float], None] = lambda seconds: None) -> None:
        """`on_gap` hears how many seconds after the one before a sequence's delta came."""
        self._on_gap = on_gap
        self._came: dict[int, float] = {}
        self._deltas: dict[int, list[Delta]] = {}
        self._begun: set[int] = set()
        self._has_come = asyncio.Event()
        self._is_urgent = asyncio.Event()

    def put(self, index: int, delta: Delta) -> None:
        """For the request's sequence of this number. Its first text and its end are urgent."""
        now = time.monotonic()
        if (before := self._came.get(index)) is not None:
            self._on_gap(now - before)
        self._came[index] = now
        self._deltas.setdefault(index, []).append(delta)
        self._has_come.set()
        if delta.finish_reason is not None or (delta.text and index not in self._begun):
            self._is_urgent.set()
        if delta.text:
            self._begun.add(index)

    async def take(self, hold_s: float | None = 0.0) -> list[tuple[int, Delta]]:
        """What has come, one delta a sequence, and at least one.

        What is not urgent may wait `hold_s` seconds for more; with None, as long as it takes.
        """
        await self._has_come.wait()
        if hold_s is None or hold_s > 0:
            with suppress(TimeoutError):
                async with asyncio.timeout(hold_s):
                    await self._is_urgent.wait()
        deltas, self._deltas = self._deltas, {}
        self._has_come.clear()
        self._is_urgent.clear()
        return [(index, merged(of_sequence)) for index, of_sequence in deltas.items()]


class Mailbox:
    """From the engine's thread to inboxes on the event loop, which is woken once for all that a step says."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._posted: deque[tuple[Inbox, int, Delta]] = deque()
        self._is_called = False

    def post(self, inbox: Inbox, index: int, delta: Delta) -> None:
        """From any thread. Raises `RuntimeError` when the loop is closed."""
        self._posted.append((inbox, index, delta))
        if not self._is_called:
            self._is_called = True
            try:
                self.loop.call_soon_threadsafe(self._distribute)
            except RuntimeError:
                self._is_called = False  # so that every sender hears of it
                self._posted.clear()
                raise

    def _distribute(self) -> None:
        self._is_called = False  # before the reading: what is posted from here on calls again
        while self._posted:
            inbox, index, delta = self._posted.popleft()
            inbox.put(index, delta)
