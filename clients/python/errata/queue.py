"""`client.queue`: several people look through answers at once, and each is given another one."""

from __future__ import annotations

from typing import Any, Literal
from urllib.parse import urlencode

from openai import AsyncOpenAI, OpenAI
from typing_extensions import Unpack

from .calls import Call, segment
from .responses import Filter
from .types import Claim, Release


class Wish(Filter, total=False):
    """Which answer is wanted. By default one about which nobody has said anything."""

    response_id: str
    """That very one."""
    after: str
    """Id of the answer from which to go on."""
    direction: Literal["next", "previous"]
    """`next`, the default: older than `after`; `previous`: newer."""


def claim(holder: str, wish: Wish) -> Call[Claim]:
    body: dict[str, Any] = {"holder": holder, **wish}
    return Call("post", "/queue/claims", Claim, body)


def release(response_id: str, holder: str) -> Call[Release]:
    path = f"/queue/claims/{segment(response_id, 'response_id')}?{urlencode({'holder': holder})}"
    return Call("delete", path, Release)


class Queue:
    def __init__(self, client: OpenAI) -> None:
        self._client = client

    def claim(self, holder: str, **wish: Unpack[Wish]) -> Claim:
        """Hold the next answer that fits and that nobody else holds, until `expires`.

        `holder` is a name for the one who looks, one for each window. What it held before is given back, unless
        no other fits; claiming the same again holds it longer. Raises `openai.ConflictError` where another holds the
        one that was named.
        """
        return claim(holder, wish).send(self._client)

    def release(self, response_id: str, *, holder: str) -> Release:
        """Give an answer back before its time is over."""
        return release(response_id, holder).send(self._client)


class AsyncQueue:
    def __init__(self, client: AsyncOpenAI) -> None:
        self._client = client

    async def claim(self, holder: str, **wish: Unpack[Wish]) -> Claim:
        """As `Queue.claim`."""
        return await claim(holder, wish).send_async(self._client)

    async def release(self, response_id: str, *, holder: str) -> Release:
        """As `Queue.release`."""
        return await release(response_id, holder).send_async(self._client)
