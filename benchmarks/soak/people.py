"""Who uses the server, at a rate of their own however fast it is: people who ask about pictures, one who corrects."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections.abc import AsyncIterator

import httpx

from serve.drill.load import Load, Seen, encoded
from serve.drill.questions import question, questions

from ..chaos.corrector import Corrector
from ..chaos.invariants import Sent

MODEL = "errata-scenes"
MAX_TOKENS = 32
NUM_PEOPLE = 4
"""With twice as many, two cores are always busy, and a time tells how long a queue is."""
NUM_KNOWN = 48
FRESH_EVERY = 8
"""Of so many questions one is about a picture that nobody asked about before."""
ASK_S = 1.0
CORRECT_S = 2.0


class People:
    def __init__(self, client: httpx.AsyncClient, seed: int) -> None:
        self._bodies = [encoded(one, MODEL, MAX_TOKENS) for one in questions(NUM_KNOWN)]
        self._load = Load(client, [], MODEL, MAX_TOKENS, seed)
        self._corrector = Corrector(client)
        self._rng = random.Random(seed)
        self._asked = itertools.count()
        self._fresh = itertools.count(NUM_KNOWN)
        self._newest: Seen | None = None
        self._is_stopped = False

    @property
    def ledger(self) -> list[Sent]:
        return self._corrector.ledger

    @property
    def num_failed_corrections(self) -> int:
        return self._corrector.num_failed

    async def work(self) -> None:
        """Until `stop`. Each asks once a second, and at once where the answer before took longer."""
        async with asyncio.TaskGroup() as group:
            for number in range(NUM_PEOPLE):
                group.create_task(self._chat(ASK_S * number / NUM_PEOPLE))
            group.create_task(self._correct())

    def stop(self) -> None:
        self._is_stopped = True
        self._corrector.stop()

    def take(self) -> list[Seen]:
        """What was seen since the last time."""
        taken, self._load.seen = self._load.seen, []
        return taken

    async def _chat(self, first_s: float) -> None:
        async for _ in ticks(time.monotonic(), first_s, ASK_S):
            if self._is_stopped:
                return
            answer = await self._load.ask(*self._question())
            if answer.failure is None:
                self._newest = answer

    async def _correct(self) -> None:
        async for _ in ticks(time.monotonic(), CORRECT_S, CORRECT_S):
            if self._is_stopped:
                return
            if self._newest is not None and self._newest.response_id is not None:
                await self._corrector.correct(self._newest.response_id, self._newest.text)

    def _question(self) -> tuple[int, bytes]:
        if next(self._asked) % FRESH_EVERY == 0:
            number = next(self._fresh)
            return number, encoded(question(number), MODEL, MAX_TOKENS)
        number = self._rng.randrange(NUM_KNOWN)
        return number, self._bodies[number]


async def ticks(began: float, first_s: float, every_s: float) -> AsyncIterator[float]:
    """Seconds after `began`, a monotonic moment, each at its moment; one that was missed comes at once."""
    moment = first_s
    while True:
        await asyncio.sleep(max(0.0, began + moment - time.monotonic()))
        yield moment
        moment += every_s
