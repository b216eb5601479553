"""Changes of version on a server under load, and when each replica had made them, as seen from the outside."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import httpx

from serve.errors import ServeError

POLL_S = 0.05
CHECK_S = 1.0
SWAP_S = 60.0
MAX_REQUESTS = 32
ROLLBACK_EVERY = 5


@dataclass(frozen=True)
class Swap:
    """Times are of the client's monotonic clock, in seconds."""

    version: str
    was: str
    asked: float
    switched: float  # when the last replica was seen to answer by it
    has_loaded: bool  # whether each replica had to load it


def next_version(number: int, versions: Sequence[str], live: str, previous: str) -> str | None:
    """What to promote next, one that no replica holds where there is such; none: roll back."""
    if number % ROLLBACK_EVERY == ROLLBACK_EVERY - 1:
        return None
    others = [version for version in versions if version not in {live, previous}] or [previous]
    return others[number % len(others)]


class Operator:
    """Who promotes and rolls back, with an admin key."""

    def __init__(
        self, client: httpx.AsyncClient, address: str, versions: Sequence[str], num_replicas: int
    ) -> None:
        self._client = client
        self._address = address
        self._versions = versions
        self._num_replicas = num_replicas
        self._first = ""
        self._live = ""
        self._previous = ""

    async def start(self) -> None:
        """Make two versions resident, so that every later promotion has one before it to go back to."""
        self._first = self._live = (await self._adapters())["in_force"]["live"]
        for version in self._versions[:2]:
            if version != self._live:
                await self._change(version)

    async def swap(self, number: int) -> Swap:
        """The `number`-th one, to its end. Raises `ServeError` where it is abandoned or takes too long."""
        return await self._change(next_version(number, self._versions, self._live, self._previous))

    async def end(self) -> None:
        """Let the version answer again that did before."""
        if self._live != self._first:
            await self._change(self._first)

    async def _change(self, version: str | None) -> Swap:
        was, before = self._live, {self._live, self._previous}
        asked = time.monotonic()
        path = "adapters/rollback" if version is None else f"adapters/{version}/promote"
        rollout = await self._json("POST", path)
        await self._all_switched(rollout["generation"])
        self._live, self._previous = rollout["live"], was
        has_loaded = self._live not in {"base", *before}
        return Swap(self._live, was, asked, time.monotonic(), has_loaded)

    async def _all_switched(self, generation: int) -> None:
        """A look is one request, so that looking costs the server little. It reaches a replica that nobody can choose,
        mostly the one with less to do: once one has switched, several ask at once, and twice as many each time.
        """
        deadline = time.monotonic() + SWAP_S
        next_check = time.monotonic() + CHECK_S
        switched: set[str] = set()
        num_requests = 1
        while len(switched) < self._num_replicas:
            states = await asyncio.gather(*(self._readiness() for _ in range(num_requests)))
            switched |= {state["replica"] for state in states if state and state["generation"] >= generation}
            if switched:
                num_requests = min(max(self._num_replicas, 2 * num_requests), MAX_REQUESTS)
                continue
            if time.monotonic() > next_check:
                next_check += CHECK_S
                await self._check_not_abandoned(generation)
            if time.monotonic() > deadline:
                raise ServeError(f"generation {generation} was not in force within {SWAP_S:g} s")
            await asyncio.sleep(POLL_S)

    async def _check_not_abandoned(self, generation: int) -> None:
        rollout = (await self._adapters())["rollout"]
        if rollout["generation"] == generation and rollout["phase"] == "abandoned":
            raise ServeError(f"a swap was abandoned: {rollout['reason']}")

    async def _readiness(self) -> dict[str, Any] | None:
        """None where no replica says it: where one has just ended, the proxy does."""
        response = await self._client.get(f"{self._address}/readyz")
        is_by_a_replica = response.headers.get("content-type", "").startswith("application/json")
        return response.json() if is_by_a_replica else None

    async def _adapters(self) -> dict[str, Any]:
        return await self._json("GET", "adapters")

    async def _json(self, method: str, path: str) -> dict[str, Any]:
        response = await self._client.request(method, path)
        if response.is_error:
            raise ServeError(f"{method} {path} was refused: {response.text}")
        answer: dict[str, Any] = response.json()
        return answer
