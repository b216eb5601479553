"""A drill from start to end: references -> load -> swaps -> figures."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import httpx

from align.state import Store

from .figures import Figures, figures
from .load import Load, Seen
from .memory import Memory, sample
from .plan import Plan
from .questions import Question, questions
from .references import references
from .subject import Subject
from .swaps import Operator, Swap

TIMEOUT_S = 120.0


@dataclass(frozen=True)
class Record:
    seen: Sequence[Seen]
    swaps: Sequence[Swap]
    memory: Sequence[Memory]


def drill(plan: Plan, subject: Subject, on_swap: Callable[[int], None]) -> Figures:
    """Raises `ServeError` where a swap is refused, abandoned or takes too long; httpx's where the server is lost."""
    asked = questions(plan.num_questions)
    expected = references(subject.model, subject.folders, asked, plan.max_tokens)
    try:
        record = asyncio.run(_under_load(plan, subject, asked, on_swap))
    except ExceptionGroup as together:  # what went wrong with a swap; the streams only end by it
        raise together.exceptions[0] from None
    token_ids = _token_ids(subject.store, record.seen)
    return figures(record.seen, record.swaps, expected, token_ids, record.memory, plan.num_warm_up_swaps)


async def _under_load(
    plan: Plan, subject: Subject, asked: Sequence[Question], on_swap: Callable[[int], None]
) -> Record:
    async with httpx.AsyncClient(
        base_url=f"{subject.address}/v1/",
        headers={"authorization": f"Bearer {subject.api_key}"},
        limits=httpx.Limits(max_connections=None),
        timeout=TIMEOUT_S,
        trust_env=False,
    ) as client:
        load = Load(client, asked, await _model_name(client), plan.max_tokens, plan.seed)
        memory = [await sample(client, subject.address, 0)]
        operator = Operator(client, subject.address, list(subject.folders), len(memory[0].by_replica))
        await operator.start()
        swaps: list[Swap] = []
        async with asyncio.TaskGroup() as group:
            for number in range(plan.num_streams):
                group.create_task(load.stream(number))
            try:
                await asyncio.sleep(plan.steady_s)
                for number in range(plan.num_swaps):
                    swaps.append(await operator.swap(number))
                    await load.only_by(swaps[-1].version)
                    await asyncio.sleep(plan.steady_s)
                    if (number + 1) % plan.memory_every == 0:
                        memory.append(await sample(client, subject.address, number + 1))
                    on_swap(number + 1)
            finally:
                load.stop()
        await operator.end()
    return Record(load.seen, swaps, memory)


async def _model_name(client: httpx.AsyncClient) -> str:
    models = (await client.get("models")).raise_for_status().json()
    return str(models["data"][0]["id"])


def _token_ids(store: Store, seen: Sequence[Seen]) -> dict[str, tuple[int, ...]]:
    """As the server recorded them."""
    ids = [one.response_id for one in seen if one.failure is None and one.response_id is not None]
    return {response_id: tuple(store.responses.get(response_id).token_ids) for response_id in ids}
