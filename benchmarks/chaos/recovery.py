"""Whether the service is back by itself: everyone ready and of one mind, an answer comes, a correction is stored."""

from __future__ import annotations

import asyncio
import time
import uuid
from dataclasses import dataclass

import httpx
from sqlalchemy.exc import DatabaseError

from align.state import Store

from .processes import is_stopped, marked, of_role, orphans
from .supervisor import Supervisor

BACK_S = 120.0
POLL_S = 0.25
NUM_LOOKS = 24
NUM_REPLICAS = 2
PROCESSES = {"replica": NUM_REPLICAS, "engine": NUM_REPLICAS, "aligner": 1, "controller": 1, "proxy": 1}


@dataclass(frozen=True)
class Service:
    address: str
    client: httpx.AsyncClient
    store: Store
    mark: str
    supervisor: Supervisor


async def back(service: Service) -> str | None:
    """None when it is back, else what was missing in the end, in words."""
    deadline, missing = time.monotonic() + BACK_S, "anything"
    while time.monotonic() < deadline:
        try:
            found = await _missing(service)
        except (httpx.HTTPError, ValueError, KeyError, DatabaseError) as error:
            found = f"{type(error).__name__}: {error}"
        if found is None:
            return None
        missing = found
        await asyncio.sleep(POLL_S)
    return f"not back within {BACK_S:g} s: {missing}"


async def told(service: Service) -> dict[str, tuple[int, str]]:
    """What each replica says is in force. A look reaches one that nobody can choose, so several are needed."""
    looks = [await service.client.get(f"{service.address}/readyz") for _ in range(NUM_LOOKS)]
    ready = [look.json() for look in looks if look.status_code == 200]
    return {one["replica"]: (one["generation"], one["live"]) for one in ready}


async def _missing(service: Service) -> str | None:
    for role, number in PROCESSES.items():
        if len(found := of_role(role, marked(service.mark))) != number:
            return f"{len(found)} processes of the {role}"
        if any(is_stopped(process) for process in found):
            return f"one process of the {role} stands still"
    if left := orphans(marked(service.mark), service.supervisor.pid):
        return f"orphans: {', '.join(left)}"
    answer = await service.client.post("chat/completions", json=_question())
    if answer.is_error:
        return f"no answer: {answer.status_code}"
    body = {"response_id": answer.json()["id"], "corrected_text": "A correction after a blow."}
    sent = await service.client.post("feedback", json=body, headers={"Idempotency-Key": uuid.uuid4().hex})
    if sent.is_error:
        return f"no correction: {sent.status_code} {sent.text}"
    ready = await told(service)
    if len(ready) < NUM_REPLICAS:
        return f"only {sorted(ready)} are ready"
    alive = service.store.replicas.alive(3.0)
    in_force = service.store.rollouts.in_force()
    holding = [one for one in alive if set(in_force.versions) <= set(one.adapters)]
    return None if len(holding) >= NUM_REPLICAS else f"{len(holding)} replicas hold {in_force.live}"


def _question() -> dict[str, object]:
    return {"model": "errata-scenes", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 4}
