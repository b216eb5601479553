"""The blows, each by its kind: it strikes, lasts as long as it must, and is over when it returns."""

from __future__ import annotations

import asyncio
import math
import random
import socket
from collections.abc import Awaitable, Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import psutil

from align.state import Store
from tests.postgresql_server import PostgreSQLServer

from . import clock, disk
from .people import People
from .processes import is_stopped, marked, of_role
from .supervisor import Supervisor

LASTS_S = 5.0
TRAINING_S = 90.0
ENDS_S = 30.0
NUM_STALLED = 20
SHORTEST_STEP_S, LONGEST_STEP_S = 2.0, 3500.0
"""From the machine's own time, by which files are dated: images younger than an hour are no one's to collect."""


class NothingToStrike(Exception):
    """There is no such process now; the round does not count."""


@dataclass(frozen=True)
class Target:
    mark: str
    address: str
    disk: Path
    people: People
    store: Store
    database: PostgreSQLServer | None  # none: a SQLite file, which has no processes
    supervisor: Supervisor
    rng: random.Random

    def victims(self, role: str) -> list[psutil.Process]:
        return of_role(role, marked(self.mark))


def killed(role: str) -> Callable[[Target], Awaitable[None]]:
    async def strike(target: Target) -> None:
        victims = target.victims(role)
        if not victims:
            raise NothingToStrike(role)
        await _kill(target.rng.choice(victims))

    return strike


async def _kill(process: psutil.Process) -> None:
    """Returns when it is dead: on a busy machine that takes a while, in which it would count as back already."""
    with suppress(psutil.NoSuchProcess):
        process.kill()
        while process.status() != psutil.STATUS_ZOMBIE:
            await asyncio.sleep(0.02)


def of_the_head(role: str) -> Callable[[Target], Awaitable[None]]:
    """Without which Ray ends: the blow is over when the server's process has, and its supervisor starts another one."""
    kill = killed(role)

    async def strike(target: Target) -> None:
        pid = target.supervisor.pid
        await kill(target)
        for _ in range(int(ENDS_S / 0.1)):
            if not psutil.pid_exists(pid):
                return
            await asyncio.sleep(0.1)

    return strike


async def training_worker(target: Target) -> None:
    """Of a run that is asked for, where none is under way."""
    await target.people.align()
    for _ in range(int(TRAINING_S / 0.5)):
        if victims := target.victims("training worker"):
            await asyncio.sleep(target.rng.uniform(0, 3))
            await _kill(victims[0])
            return
        await asyncio.sleep(0.5)
    raise NothingToStrike(f"no run began to train within {TRAINING_S:g} s")


async def stuck_engine(target: Target) -> None:
    """It stands still, as in a call that has no end, and is told to go on by nobody."""
    victims = target.victims("engine")
    if not victims:
        raise NothingToStrike("engine")
    victim = target.rng.choice(victims)
    with suppress(psutil.NoSuchProcess):
        victim.suspend()
        for _ in range(int(ENDS_S / 0.02)):
            if is_stopped(victim):
                return
            await asyncio.sleep(0.02)


async def stalled_clients(target: Target) -> None:
    """They send half a request, and no more."""
    url = urlsplit(target.address)
    half = b"POST /v1/chat/completions HTTP/1.1\r\nHost: errata\r\nContent-Length: 9000\r\n\r\n{"
    with ExitStack() as stack:
        for _ in range(NUM_STALLED):
            line = stack.enter_context(socket.create_connection((str(url.hostname), url.port or 80), 5.0))
            line.sendall(half)
        await asyncio.sleep(LASTS_S)


async def database(target: Target) -> None:
    """Stopped at once, so that what was not written to its log is gone; started again after a while."""
    if target.database is None:
        raise NothingToStrike("a SQLite file has no processes")
    await asyncio.to_thread(target.database.stop_at_once)
    await asyncio.sleep(LASTS_S)
    await asyncio.to_thread(target.database.start)


async def full_disk(target: Target) -> None:
    target.store.database.empty_log()  # else SQLite writes for a while into what its log holds already
    await asyncio.to_thread(disk.full, target.disk, LASTS_S)


async def slow_disk(target: Target) -> None:
    await asyncio.to_thread(disk.slow, target.disk, LASTS_S)


async def clock_step(target: Target) -> None:
    """Forwards or backwards, by seconds or most of an hour; every other time it is set back after a while."""
    before = clock.offset_s()
    seconds = math.exp(target.rng.uniform(math.log(SHORTEST_STEP_S), math.log(LONGEST_STEP_S)))
    clock.set_to(target.rng.choice((-seconds, seconds)))
    if target.rng.random() < 0.5:
        await asyncio.sleep(LASTS_S)
        clock.set_to(before)


BLOWS: Mapping[str, Callable[[Target], Awaitable[None]]] = {
    "replica": killed("replica"),
    "engine": killed("engine"),
    "stuck engine": stuck_engine,
    "proxy": killed("proxy"),
    "controller": killed("controller"),
    "aligner": killed("aligner"),
    "training worker": training_worker,
    "gcs": of_the_head("gcs"),
    "raylet": of_the_head("raylet"),
    "database": database,
    "stalled clients": stalled_clients,
    "full disk": full_disk,
    "slow disk": slow_disk,
    "clock step": clock_step,
}

DISK = frozenset({"full disk", "slow disk"})
"""Those that need a disk of the server's own."""
DATABASE = frozenset({"database"})
"""Those that need a database with processes of its own."""
CLOCK = frozenset({"clock step"})
"""That which needs a library before the clock's, and a C compiler to make it."""
