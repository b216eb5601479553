"""`client.adapters`: what was learned, and which version answers."""

from __future__ import annotations

from typing import Any

from openai import AsyncOpenAI, OpenAI

from .calls import Call, segment
from .types import Adapter, AdapterList, AdapterStory, Comparison, Rollout

LIST = Call("get", "/adapters", AdapterList)
COMPARISON = Call("get", "/adapters/comparison", Comparison)
# Not repeated on their own: a lost answer does not say whether the change was made, and made again it is refused, or
# another step back.
ROLLBACK = Call("post", "/adapters/rollback", Rollout, is_retried=False)


def get(version: str) -> Call[AdapterStory]:
    return Call("get", f"/adapters/{segment(version, 'version')}", AdapterStory)


def admit(version: str) -> Call[Adapter]:
    return Call("post", f"/adapters/{segment(version, 'version')}/admit", Adapter, {}, is_retried=False)


def retire(version: str) -> Call[Adapter]:
    return Call("post", f"/adapters/{segment(version, 'version')}/retire", Adapter, {})


def promote(version: str, share: float | None) -> Call[Rollout]:
    body: dict[str, Any] = {} if share is None else {"share": share}
    return Call("post", f"/adapters/{segment(version, 'version')}/promote", Rollout, body, is_retried=False)


class Adapters:
    def __init__(self, client: OpenAI) -> None:
        self._client = client

    def list(self) -> AdapterList:
        """All versions in short, and the rollout that says which one answers."""
        return LIST.send(self._client)

    def get(self, version: str) -> AdapterStory:
        """Where a version comes from, and what it did."""
        return get(version).send(self._client)

    def comparison(self) -> Comparison:
        """How the new version stands against the other; `NotFoundError` where none is compared (`is_judged`)."""
        return COMPARISON.send(self._client)

    def admit(self, version: str) -> Adapter:
        """Let a version that the gate held for review serve after all; `promote` then makes it live."""
        return admit(version).send(self._client)

    def retire(self, version: str) -> Adapter:
        """Never let a version serve again. Raises `openai.ConflictError` while it is served."""
        return retire(version).send(self._client)

    def promote(self, version: str, *, share: float | None = None) -> Rollout:
        """Let a version answer: all new requests, or a share of them beside the live one (0 < share < 1).

        Returns the rollout as it is prepared; it is in force when its phase is `committed`.
        """
        return promote(version, share).send(self._client)

    def rollback(self) -> Rollout:
        """Go back to the version that answered before the live one."""
        return ROLLBACK.send(self._client)


class AsyncAdapters:
    def __init__(self, client: AsyncOpenAI) -> None:
        self._client = client

    async def list(self) -> AdapterList:
        """As `Adapters.list`."""
        return await LIST.send_async(self._client)

    async def get(self, version: str) -> AdapterStory:
        """As `Adapters.get`."""
        return await get(version).send_async(self._client)

    async def comparison(self) -> Comparison:
        """As `Adapters.comparison`."""
        return await COMPARISON.send_async(self._client)

    async def admit(self, version: str) -> Adapter:
        """As `Adapters.admit`."""
        return await admit(version).send_async(self._client)

    async def retire(self, version: str) -> Adapter:
        """As `Adapters.retire`."""
        return await retire(version).send_async(self._client)

    async def promote(self, version: str, *, share: float | None = None) -> Rollout:
        """As `Adapters.promote`."""
        return await promote(version, share).send_async(self._client)

    async def rollback(self) -> Rollout:
        """As `Adapters.rollback`."""
        return await ROLLBACK.send_async(self._client)
