"""People who chat without a pause, over HTTP: each answer as its reader saw it, chunk by chunk."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import httpx

from .questions import Question


@dataclass(frozen=True)
class Seen:
    """One request. Times are of the client's monotonic clock, in seconds."""

    question: int
    began: float
    ended: float
    adapter: str | None
    response_id: str | None
    text: str
    arrivals: tuple[float, ...]  # of each piece of text
    failure: str | None = None


class Load:
    def __init__(
        self, client: httpx.AsyncClient, questions: Sequence[Question], model: str, max_tokens: int, seed: int
    ) -> None:
        self.seen: list[Seen] = []
        self._client = client
        self._bodies = [encoded(question, model, max_tokens) for question in questions]
        self._seed = seed
        self._is_stopped = False
        self._under_way: Counter[str] = Counter()

    def stop(self) -> None:
        """Streams end with the answer that they are reading."""
        self._is_stopped = True

    async def stream(self, number: int) -> None:
        """One person's questions, in an order of their own, until `stop`."""
        order = random.Random(f"{self._seed} {number}")
        while not self._is_stopped:
            number = order.randrange(len(self._bodies))
            answer = await self.ask(number, self._bodies[number])
            if answer.failure is not None:
                await asyncio.sleep(0.5)

    async def only_by(self, version: str) -> None:
        """Until every answer under way is by that version."""
        while set(+self._under_way) - {version}:
            await asyncio.sleep(0.02)

    async def ask(self, question: int, body: bytes) -> Seen:
        """One request, kept in `seen`. `body` is the question's, by `encoded`; its number is for the reader alone."""
        answer = await self._read(question, body)
        self.seen.append(answer)  # to the list of this moment: somebody may have taken the one before
        return answer

    async def _read(self, question: int, body: bytes) -> Seen:
        began = time.monotonic()
        pieces: list[str] = []
        arrivals: list[float] = []
        adapter = response_id = failure = None
        is_whole = False
        try:
            async with self._client.stream(
                "POST",
                "chat/completions",
                content=body,
                headers={"content-type": "application/json"},
            ) as response:
                if response.status_code != 200:
                    failure = f"{response.status_code}: {(await response.aread()).decode(errors='replace')}"
                adapter = response.headers.get("x-errata-adapter")
                response_id = response.headers.get("x-errata-response-id")
                if response_id is not None:
                    self._under_way[adapter or ""] += 1
                async for line in response.aiter_lines():
                    if line == "data: [DONE]":
                        is_whole = True
                    elif line.startswith("data: "):
                        event = json.loads(line[6:])
                        if "error" in event:
                            failure = str(event["error"]["message"])
                        elif text := _text(event):
                            pieces.append(text)
                            arrivals.append(time.monotonic())
        except httpx.HTTPError as error:
            failure = f"{type(error).__name__}: {error}"
        finally:
            if response_id is not None:
                self._under_way[adapter or ""] -= 1
        if failure is None and not is_whole:
            failure = "the stream ended before its last event"
        return Seen(
            question,
            began,
            time.monotonic(),
            adapter,
            response_id,
            "".join(pieces),
            tuple(arrivals),
            failure,
        )


def encoded(question: Question, model: str, max_tokens: int) -> bytes:
    return json.dumps(question.body(model, max_tokens)).encode()


def _text(event: dict[str, list[dict[str, dict[str, str]]]]) -> str:
    return "".join(choice["delta"].get("content") or "" for choice in event["choices"])
