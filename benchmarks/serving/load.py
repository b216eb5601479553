"""Clients that each ask one question after the other, and what they see. Knows no server."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class Question:
    text: str
    image: bytes  # encoded


@dataclass
class Stream:
    """One answer as it came; times are of `time.perf_counter`, in seconds."""

    started: float = field(default_factory=time.perf_counter)
    arrivals: list[float] = field(default_factory=list)  # of text
    num_tokens: int = 0
    text: str = ""

    def arrived(self, text: str) -> None:
        self.arrivals.append(time.perf_counter())
        self.text += text


Ask = Callable[[Question], Awaitable[Stream]]


@dataclass(frozen=True)
class Seen:
    """By all clients together. Times are in seconds."""

    num_requests: int
    num_failed: int
    tokens_per_s: float
    requests_per_s: float
    first_token_s: tuple[float, float]  # p50, p99
    between_s: tuple[float, float]  # p50, p99 of the gaps between two pieces of text of one answer
    texts: tuple[str, ...]  # in the questions' order


async def drive(ask: Ask, questions: Sequence[Question], num_clients: int) -> Seen:
    """All questions, `num_clients` at a time."""
    streams: list[Stream | None] = [None] * len(questions)
    waiting = iter(enumerate(questions))

    async def client() -> None:
        for index, question in waiting:
            try:
                streams[index] = await ask(question)
            except Exception as error:  # counted: a server that fails under load is a figure, too
                print(f"a request failed: {type(error).__name__}: {error}", flush=True)

    started = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(num_clients)))
    seconds = time.perf_counter() - started
    done = [stream for stream in streams if stream is not None and stream.arrivals]
    return Seen(
        num_requests=len(questions),
        num_failed=len(questions) - len(done),
        tokens_per_s=sum(stream.num_tokens for stream in done) / seconds,
        requests_per_s=len(done) / seconds,
        first_token_s=_quantiles(stream.arrivals[0] - stream.started for stream in done),
        between_s=_quantiles(gap for stream in done for gap in np.diff(stream.arrivals)),
        texts=tuple(stream.text if stream is not None else "" for stream in streams),
    )


def _quantiles(seconds: Iterable[float]) -> tuple[float, float]:
    values = list(seconds)
    if not values:
        return 0.0, 0.0
    p50, p99 = np.quantile(values, (0.5, 0.99))
    return round(float(p50), 5), round(float(p99), 5)
