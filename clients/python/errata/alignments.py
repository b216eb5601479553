"""`client.alignments`: train on the corrections now, and watch it."""

from __future__ import annotations

import asyncio
import builtins
import math
import time
from collections.abc import Callable

from openai import AsyncOpenAI, OpenAI

from .calls import Call, segment
from .errors import AlignmentTimeout
from .types import Alignment, AlignmentList

CREATE = Call("post", "/alignments", Alignment, {})
LIST = Call("get", "/alignments", AlignmentList)


def get(alignment_id: str) -> Call[Alignment]:
    return Call("get", f"/alignments/{segment(alignment_id, 'alignment_id')}", Alignment)


def cancel(alignment_id: str) -> Call[Alignment]:
    # Not repeated on its own: a second try would be refused, as the first has ended the run.
    path = f"/alignments/{segment(alignment_id, 'alignment_id')}/cancel"
    return Call("post", path, Alignment, {}, is_retried=False)


def report(alignment_id: str) -> Call[str]:
    return Call("get", f"/alignments/{segment(alignment_id, 'alignment_id')}/report", str)


class Watch:
    """Decides, look by look, how long to wait for the next one. Asks nobody and never sleeps."""

    def __init__(
        self, timeout: float | None, on_progress: Callable[[Alignment], object] | None, poll: float
    ) -> None:
        self._deadline = math.inf if timeout is None else time.monotonic() + timeout
        self._on_progress = on_progress
        self._poll = poll
        self._last: Alignment | None = None

    def pause(self, alignment: Alignment) -> float:
        """Seconds until the next look at a run that has not ended. Raises `AlignmentTimeout` past the deadline."""
        remaining = self._deadline - time.monotonic()
        if remaining <= 0:
            raise AlignmentTimeout(
                f"{alignment.id} is still {alignment.status} and goes on; wait again, or look with alignments.get",
                alignment,
            )
        return min(self._poll, remaining)

    def tell(self, alignment: Alignment) -> None:
        if self._on_progress is not None and alignment != self._last:
            self._on_progress(alignment)
        self._last = alignment


class Alignments:
    def __init__(self, client: OpenAI) -> None:
        self._client = client

    def create(self) -> Alignment:
        """Ask for a run, or get the one that is already waiting."""
        return CREATE.send(self._client)

    def get(self, alignment_id: str) -> Alignment:
        return get(alignment_id).send(self._client)

    def list(self) -> builtins.list[Alignment]:
        """Newest first."""
        return LIST.send(self._client).data

    def cancel(self, alignment_id: str) -> Alignment:
        """End a run that waits or is under way. Raises `openai.ConflictError` where it has ended already."""
        return cancel(alignment_id).send(self._client)

    def report(self, alignment_id: str) -> str:
        """What the gate measured and decided: an HTML page that stands alone."""
        return report(alignment_id).send(self._client)

    def wait(
        self,
        alignment_id: str,
        *,
        timeout: float | None = None,
        on_progress: Callable[[Alignment], object] | None = None,
        poll: float = 1.0,
    ) -> Alignment:
        """The run when it has ended, however it ended. `timeout` and `poll` are seconds.

        `on_progress` is called with the run whenever it has changed. Raises `AlignmentTimeout`; the run goes on.
        """
        watch = Watch(timeout, on_progress, poll)
        while not (alignment := self.get(alignment_id)).is_ended:
            watch.tell(alignment)
            time.sleep(watch.pause(alignment))
        watch.tell(alignment)
        return alignment


class AsyncAlignments:
    def __init__(self, client: AsyncOpenAI) -> None:
        self._client = client

    async def create(self) -> Alignment:
        """As `Alignments.create`."""
        return await CREATE.send_async(self._client)

    async def get(self, alignment_id: str) -> Alignment:
        return await get(alignment_id).send_async(self._client)

    async def list(self) -> builtins.list[Alignment]:
        """Newest first."""
        return (await LIST.send_async(self._client)).data

    async def cancel(self, alignment_id: str) -> Alignment:
        """As `Alignments.cancel`."""
        return await cancel(alignment_id).send_async(self._client)

    async def report(self, alignment_id: str) -> str:
        """As `Alignments.report`."""
        return await report(alignment_id).send_async(self._client)

    async def wait(
        self,
        alignment_id: str,
        *,
        timeout: float | None = None,
        on_progress: Callable[[Alignment], object] | None = None,
        poll: float = 1.0,
    ) -> Alignment:
        """As `Alignments.wait`."""
        watch = Watch(timeout, on_progress, poll)
        while not (alignment := await self.get(alignment_id)).is_ended:
            watch.tell(alignment)
            await asyncio.sleep(watch.pause(alignment))
        watch.tell(alignment)
        return alignment
