"""A soak from start to end on one server: people, promotions and looks beside each other, into one record."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import httpx

from serve.drill.load import Seen
from serve.drill.plan import Plan as DrillPlan
from serve.drill.subject import Subject, own_server
from serve.drill.swaps import Operator, Swap
from serve.errors import ServeError
from serve.settings import AlignmentSettings, EngineConfig, Settings

from ..chaos.processes import mark
from .footprint import Footprint, footprints, log_folder
from .latency import Period, period
from .people import People, ticks
from .room import Room, num_tokens, room

NUM_REPLICAS = 2
TIMEOUT_S = 60.0
SMALL_CACHES = EngineConfig(cache_bytes=128 * 2**20, image_cache_bytes=2**20)
"""Full within a minute, of 35 prompts and 37 pictures: by default they would grow for most of the hour, as they may."""


@dataclass(frozen=True)
class Plan:
    minutes: float = 60.0
    every_s: float = 60.0
    """Between two promotions; a quarter and three quarters of the way from one to the next, everything is looked at."""
    seed: int = 0

    @property
    def duration_s(self) -> float:
        return 60 * self.minutes


@dataclass(frozen=True)
class Look:
    at_s: float  # since the beginning
    roles: Mapping[str, Footprint]
    room: Room


@dataclass
class Record:
    looks: list[Look] = field(default_factory=list)
    periods: list[Period] = field(default_factory=list)
    swaps: list[tuple[float, Swap]] = field(default_factory=list)
    """With the seconds since the beginning at which each was asked for."""
    abandoned: list[str] = field(default_factory=list)
    rest: list[Seen] = field(default_factory=list)
    """Answers that came after the last period: requests as all others, but with ever fewer beside them."""
    corrections: int = 0
    failed_corrections: int = 0  # tries


@contextmanager
def own_subject(seed: int) -> Iterator[tuple[Subject, str]]:
    """With the mark of its processes. It starts no runs, for they come and go."""
    value = mark()
    settings = Settings(
        engine=SMALL_CACHES, alignment=AlignmentSettings(min_corrections=10**6, auto_promote=False)
    )
    with own_server(DrillPlan(num_replicas=NUM_REPLICAS, seed=seed), settings) as subject:
        yield subject, value


async def soak(plan: Plan, subject: Subject, value: str, on_look: Callable[[Record], None]) -> Record:
    record = Record()
    async with httpx.AsyncClient(
        base_url=f"{subject.address}/v1/",
        headers={"authorization": f"Bearer {subject.api_key}"},
        limits=httpx.Limits(max_connections=None),
        timeout=TIMEOUT_S,
        trust_env=False,
    ) as client:
        people = People(client, plan.seed)
        operator = Operator(client, subject.address, list(subject.folders), NUM_REPLICAS)
        await operator.start()
        began = time.monotonic()
        async with asyncio.TaskGroup() as group:
            group.create_task(people.work())
            try:
                async with asyncio.TaskGroup() as course:
                    course.create_task(_promote(plan, operator, began, record))
                    course.create_task(_tell(plan, people, subject, began, record))
                    course.create_task(_look(plan, subject, value, began, record, on_look))
            finally:
                people.stop()
    record.rest = people.take()
    record.corrections, record.failed_corrections = len(people.ledger), people.num_failed_corrections
    return record


async def _promote(plan: Plan, operator: Operator, began: float, record: Record) -> None:
    number = 0
    async for moment in ticks(began, 0.0, plan.every_s):
        if moment >= plan.duration_s:
            return
        try:
            swap = await operator.swap(number)
            record.swaps.append((swap.asked - began, swap))
        except (ServeError, httpx.HTTPError) as error:
            record.abandoned.append(f"after {moment:.0f} s: {error!r}")
        number += 1


async def _tell(plan: Plan, people: People, subject: Subject, began: float, record: Record) -> None:
    """What people waited for between one promotion and the next."""
    last, since = 0.0, time.time()
    async for moment in ticks(began, plan.every_s, plan.every_s):
        if moment > plan.duration_s:
            return
        seen, now, at = people.take(), time.time(), time.monotonic() - began
        tokens = await asyncio.to_thread(num_tokens, subject.store, since)
        record.periods.append(period(seen, tokens, at, at - last))
        record.corrections, record.failed_corrections = len(people.ledger), people.num_failed_corrections
        last, since = at, now


async def _look(
    plan: Plan, subject: Subject, value: str, began: float, record: Record, on_look: Callable[[Record], None]
) -> None:
    logs = await asyncio.to_thread(log_folder, value)

    def look() -> Look:
        at = time.monotonic() - began
        return Look(at, footprints(value), room(subject.store, subject.state, logs))

    async for moment in ticks(began, plan.every_s / 4, plan.every_s / 2):
        if moment > plan.duration_s:
            return
        record.looks.append(await asyncio.to_thread(look))
        on_look(record)
