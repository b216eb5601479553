"""The rounds on one server: a random moment, a blow, back by itself, and everything looked at."""

from __future__ import annotations

import asyncio
import random
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import httpx
from sqlalchemy import select

from align.state import Store, schema

from .blows import BLOWS, NothingToStrike, Target
from .invariants import answers_by_one_version, corrections_kept, one_truth, runs_kept
from .people import People
from .recovery import Service, back, told
from .subject import Subject

LONGEST_PAUSE_S = 4.0
SETTLED_S = 30.0
NUM_STREAMS = 3
TIMEOUT_S = 60.0


@dataclass(frozen=True)
class Round:
    number: int
    kind: str
    recovery_s: (
        float | None
    )  # from the moment at which the blow was over; none where there was nothing to strike
    violations: tuple[str, ...]
    num_answers: int
    num_broken: int  # of these: the ones that did not come to their end
    num_corrections: int  # sent so far


@dataclass
class Known:
    """From the rounds before: each one looks at all corrections and runs, and tells of what is wrong once."""

    wrong: set[str] = field(default_factory=set)
    ended: dict[str, str] = field(default_factory=dict)  # runs, and as what


async def rounds(
    subject: Subject,
    kinds: Sequence[str],
    numbers: Sequence[int],
    until: float,
    seed: int,
    on_round: Callable[[Round], None],
) -> None:
    """Kinds in turn by `numbers`, the first of which makes other moments of the same seed.

    Ends after the first round from which the service did not come back.
    """
    rng = random.Random(f"{seed} {numbers[0] if numbers else 0}")
    limits = httpx.Limits(
        max_connections=None, max_keepalive_connections=0
    )  # a kept one may lead to the dead
    async with httpx.AsyncClient(
        base_url=f"{subject.address}/v1/", limits=limits, timeout=TIMEOUT_S, trust_env=False
    ) as client:
        people = People(client, subject.asked, list(subject.references), rng.randrange(1 << 32))
        service = Service(subject.address, client, subject.store, subject.mark, subject.supervisor)
        target = Target(
            subject.mark,
            subject.address,
            subject.disk,
            people,
            subject.store,
            subject.database,
            subject.supervisor,
            rng,
        )
        known = Known()
        async with asyncio.TaskGroup() as group:
            group.create_task(people.work(NUM_STREAMS))
            try:
                for number in numbers:
                    if time.monotonic() > until:
                        break
                    done = await _round(number, kinds[number % len(kinds)], target, service, subject, known)
                    on_round(done)
                    if any("not back" in violation for violation in done.violations):
                        break
            finally:
                people.stop()


async def _round(
    number: int, kind: str, target: Target, service: Service, subject: Subject, known: Known
) -> Round:
    people = target.people
    people.is_promoting = True
    await asyncio.sleep(target.rng.uniform(0.5, LONGEST_PAUSE_S))
    violations: list[str] = []
    recovery_s = None
    try:
        await BLOWS[kind](target)
        struck = time.monotonic()
        missing = await back(service)
        recovery_s = time.monotonic() - struck
        violations += [] if missing is None else [missing]
    except NothingToStrike:
        pass
    people.is_promoting = False
    violations += await _truth(service)
    seen = people.take()
    token_ids, versions = _records(subject.store, [str(one.response_id) for one in seen if one.response_id])
    violations += answers_by_one_version(seen, subject.references, token_ids, versions)
    adapters, runs = subject.store.adapters.all(), subject.store.runs.recent()
    wrong = {
        *corrections_kept(people.ledger, _stored(subject.store)),
        *runs_kept(runs, adapters, known.ended),
    } - known.wrong
    known.wrong |= wrong
    known.ended |= {run.id: run.status for run in runs if run.is_ended}
    violations += sorted(wrong)
    num_broken = sum(one.failure is not None for one in seen)
    return Round(number, kind, recovery_s, tuple(violations), len(seen), num_broken, len(people.ledger))


async def _truth(service: Service) -> list[str]:
    """Once no rollout is under way any more."""
    deadline, wrong = time.monotonic() + SETTLED_S, ["no rollout came to its end"]
    while time.monotonic() < deadline:
        await asyncio.sleep(0.5)
        desired = service.store.rollouts.desired()
        in_force = desired.in_force(time.time())
        if desired.preparing is not None or in_force != desired.committed[0]:
            continue
        try:
            said = await told(service)
        except (httpx.HTTPError, ValueError) as error:
            wrong = [f"no readiness: {error!r}"]
            continue
        wrong = one_truth(in_force, service.store.replicas.alive(3.0), said)
        if not wrong:
            return []
    return wrong


def _records(store: Store, ids: Sequence[str]) -> tuple[dict[str, tuple[int, ...]], dict[str, str]]:
    table = schema.responses.c
    with store.database.read() as connection:
        query = select(table.id, table.token_ids, table.adapter).where(table.id.in_(ids))
        rows = connection.execute(query).all()
    return {row.id: tuple(row.token_ids) for row in rows}, {row.id: row.adapter for row in rows}


def _stored(store: Store) -> Mapping[str, Sequence[str]]:
    table = schema.corrections.c
    stored: dict[str, list[str]] = defaultdict(list)
    with store.database.read() as connection:
        for row in connection.execute(select(table.id, table.idempotency_key)):
            stored[row.idempotency_key].append(row.id)
    return stored
