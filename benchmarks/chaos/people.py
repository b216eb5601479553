"""Who uses the server meanwhile: people who chat, who correct, and an operator who promotes and asks for runs."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence

import httpx

from serve.drill.load import Load, Seen
from serve.drill.questions import Question

from .corrector import Corrector
from .invariants import Sent

MAX_TOKENS = 32
PAUSE_S = 0.5
PROMOTE_EVERY_S = 4.0
ALIGN_EVERY_S = 45.0


class People:
    """`seen` are the answers that came or broke off since `take`, `ledger` all corrections that anybody sent."""

    def __init__(
        self, client: httpx.AsyncClient, asked: Sequence[Question], versions: Sequence[str], seed: int
    ) -> None:
        self.is_promoting = True
        self._client = client
        self._asked = asked
        self._versions = versions
        self._rng = random.Random(seed)
        self._load = Load(client, asked, "errata-scenes", MAX_TOKENS, seed)
        self._corrector = Corrector(client)
        self._is_stopped = False

    @property
    def ledger(self) -> list[Sent]:
        return self._corrector.ledger

    async def work(self, num_streams: int) -> None:
        """Until `stop`. Whoever is not answered asks again."""
        async with asyncio.TaskGroup() as group:
            for number in range(num_streams):
                group.create_task(self._load.stream(number))
            group.create_task(self._chat())
            group.create_task(self._correct())
            group.create_task(self._every(PROMOTE_EVERY_S, self._promote))
            group.create_task(self._every(ALIGN_EVERY_S, self.align))

    def stop(self) -> None:
        self._is_stopped = True
        self._load.stop()
        self._corrector.stop()

    def take(self) -> list[Seen]:
        """What was seen since the last time."""
        taken, self._load.seen = self._load.seen, []
        return taken

    async def align(self) -> None:
        await self._client.post("alignments")

    async def _chat(self) -> None:
        """As a person does who waits for the whole answer."""
        while not self._is_stopped:
            answer = await self._ask()
            self._load.seen.append(answer)  # to the list of this moment: `take` may have taken the one before
            await asyncio.sleep(PAUSE_S)

    async def _ask(self) -> Seen:
        question = self._rng.randrange(len(self._asked))
        body = {**self._asked[question].body("errata-scenes", MAX_TOKENS), "stream": False}
        began, text, failure = time.monotonic(), "", None
        headers = httpx.Headers()
        try:
            answer = await self._client.post("chat/completions", json=body)
            headers = answer.headers
            if answer.is_success:
                text = answer.json()["choices"][0]["message"]["content"]
            else:
                failure = f"{answer.status_code}: {answer.text}"
        except httpx.HTTPError as error:
            failure = f"{type(error).__name__}: {error}"
        response_id = headers.get("x-errata-response-id")
        return Seen(
            question, began, time.monotonic(), headers.get("x-errata-adapter"), response_id, text, (), failure
        )

    async def _correct(self) -> None:
        while not self._is_stopped:
            await asyncio.sleep(PAUSE_S)
            whole = [one for one in self._load.seen if one.failure is None and one.response_id]
            if not whole:
                continue
            one = self._rng.choice(whole)
            await self._corrector.correct(str(one.response_id), one.text)

    async def _promote(self) -> None:
        if not self.is_promoting:
            return
        version = self._rng.choice([*self._versions, None])
        await self._client.post("adapters/rollback" if version is None else f"adapters/{version}/promote")

    async def _every(self, period_s: float, act: Callable[[], Awaitable[None]]) -> None:
        while not self._is_stopped:
            await asyncio.sleep(period_s)
            try:
                await act()
            except httpx.HTTPError:
                continue  # the server is down: that is what is looked at
