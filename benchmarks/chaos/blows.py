"""The blows, each by its kind: it strikes, lasts as long as it must, and is over when it returns."""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import Awaitable, Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import psutil

from align.state import Store

from . import disk
from .people import People
from .processes import marked, of_role

LASTS_S = 5.0
TRAINING_S = 90.0
NUM_STALLED = 20


class NothingToStrike(Exception):
    """There is no such process now; the round does not count."""


@dataclass(frozen=True)
class Target:
    mark: str
    address: str
    disk: Path
    people: People
    store: Store
    rng: random.Random

    def victims(self, role: str) -> list[psutil.Process]:
        return of_role(role, marked(self.mark))


def killed(role: str) -> Callable[[Target], Awaitable[None]]:
    async def strike(target: Target) -> None:
        victims = target.victims(role)
        if not victims:
            raise NothingToStrike(role)
        target.rng.choice(victims).kill()

    return strike


async def training_worker(target: Target) -> None:
    """Of a run that is asked for, where none is under way."""
    await target.people.align()
    for _ in range(int(TRAINING_S / 0.5)):
        if victims := target.victims("training worker"):
            await asyncio.sleep(target.rng.uniform(0, 3))
            victims[0].kill()
            return
        await asyncio.sleep(0.5)
    raise NothingToStrike(f"no run began to train within {TRAINING_S:g} s")


async def stalled_clients(target: Target) -> None:
    """They send half a request, and no more."""
    url = urlsplit(target.address)
    half = b"POST /v1/chat/completions HTTP/1.1\r\nHost: errata\r\nContent-Length: 9000\r\n\r\n{"
    with ExitStack() as stack:
        for _ in range(NUM_STALLED):
            line = stack.enter_context(socket.create_connection((str(url.hostname), url.port or 80), 5.0))
            line.sendall(half)
        await asyncio.sleep(LASTS_S)


async def full_disk(target: Target) -> None:
    target.store.database.empty_log()  # else SQLite writes for a while into what its log holds already
    await asyncio.to_thread(disk.full, target.disk, LASTS_S)


async def slow_disk(target: Target) -> None:
    await asyncio.to_thread(disk.slow, target.disk, LASTS_S)


BLOWS: Mapping[str, Callable[[Target], Awaitable[None]]] = {
    "replica": killed("replica"),
    "engine": killed("engine"),
    "proxy": killed("proxy"),
    "controller": killed("controller"),
    "aligner": killed("aligner"),
    "training worker": training_worker,
    "stalled clients": stalled_clients,
    "full disk": full_disk,
    "slow disk": slow_disk,
}

DISK = frozenset({"full disk", "slow disk"})
"""Those that need a disk of the server's own."""
