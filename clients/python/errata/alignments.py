"""`client.alignments`: train on the corrections now, and watch it."""

from __future__ import annotations

import asyncio
import builtins
import math
import time
from collections.abc import Callable

from openai import AsyncOpenAI, OpenAI
from pydantic import PrivateAttr
from typing_extensions import TypedDict, Unpack

from .calls import Call, segment
from .errors import AlignmentTimeout
from .progress import ProgressLine
from .types import Alignment, AlignmentList

LIST = Call("get", "/alignments", AlignmentList)


def get(alignment_id: str) -> Call[Alignment]:
    return Call("get", f"/alignments/{segment(alignment_id, 'alignment_id')}", Alignment)


def cancel(alignment_id: str) -> Call[Alignment]:
    # Not repeated on its own: a second try would be refused, as the first has ended the run.
    path = f"/alignments/{segment(alignment_id, 'alignment_id')}/cancel"
    return Call("post", path, Alignment, {}, is_retried=False)


def report(alignment_id: str) -> Call[str]:
    return Call("get", f"/alignments/{segment(alignment_id, 'alignment_id')}/report", str)


class Waiting(TypedDict, total=False):
    """How a run is waited for."""

    progress: bool
    """Whether its steps and figures are shown on standard error as they come."""
    on_progress: Callable[[Alignment], object]
    """Called with the run whenever it has changed."""
    timeout: float | None
    """Seconds; none, the default: to its end."""
    poll: float
    """Seconds between two looks; 1 by default."""


class Watch:
    """Decides, look by look, how long to wait for the next one. Asks nobody and never sleeps."""

    def __init__(self, waiting: Waiting) -> None:
        timeout = waiting.get("timeout")
        self._deadline = math.inf if timeout is None else time.monotonic() + timeout
        self._poll = waiting.get("poll", 1.0)
        self._listeners: list[Callable[[Alignment], object]] = []
        if waiting.get("progress"):
            self._listeners.append(ProgressLine())
        if "on_progress" in waiting:
            self._listeners.append(waiting["on_progress"])
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
        if alignment != self._last:
            for listener in self._listeners:
                listener(alignment)
        self._last = alignment


class RequestedAlignment(Alignment):
    """A run as it stood when it was asked for, which can be waited for."""

    _alignments: Alignments = PrivateAttr()

    def wait(self, **waiting: Unpack[Waiting]) -> Alignment:
        """As `Alignments.wait`."""
        return self._alignments.wait(self.id, **waiting)


class AsyncRequestedAlignment(Alignment):
    """As `RequestedAlignment`, with `await`."""

    _alignments: AsyncAlignments = PrivateAttr()

    async def wait(self, **waiting: Unpack[Waiting]) -> Alignment:
        """As `Alignments.wait`."""
        return await self._alignments.wait(self.id, **waiting)


CREATE = Call("post", "/alignments", RequestedAlignment, {})
CREATE_ASYNC = Call("post", "/alignments", AsyncRequestedAlignment, {})


class Alignments:
    def __init__(self, client: OpenAI) -> None:
        self._client = client

    def create(self) -> RequestedAlignment:
        """Ask for a run, or get the one that is already waiting."""
        requested = CREATE.send(self._client)
        requested._alignments = self
        return requested

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

    def wait(self, alignment_id: str, **waiting: Unpack[Waiting]) -> Alignment:
        """The run when it has ended, however it ended. Raises `AlignmentTimeout`; the run goes on."""
        watch = Watch(waiting)
        while not (alignment := self.get(alignment_id)).is_ended:
            watch.tell(alignment)
            time.sleep(watch.pause(alignment))
        watch.tell(alignment)
        return alignment


class AsyncAlignments:
    def __init__(self, client: AsyncOpenAI) -> None:
        self._client = client

    async def create(self) -> AsyncRequestedAlignment:
        """As `Alignments.create`."""
        requested = await CREATE_ASYNC.send_async(self._client)
        requested._alignments = self
        return requested

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

    async def wait(self, alignment_id: str, **waiting: Unpack[Waiting]) -> Alignment:
        """As `Alignments.wait`."""
        watch = Watch(waiting)
        while not (alignment := await self.get(alignment_id)).is_ended:
            watch.tell(alignment)
            await asyncio.sleep(watch.pause(alignment))
        watch.tell(alignment)
        return alignment
