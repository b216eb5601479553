"""/v1/queue: several people look through answers at once, and each is given another one."""

from __future__ import annotations

import time
from typing import Annotated

from fastapi import APIRouter, Depends, Query
from starlette.concurrency import run_in_threadpool

from align.state import Key, Store
from align.state.claims import Claim, Holder
from align.state.wanted_responses import WantedResponses
from serve.replica import Replica

from .auth import answered_to, kept_response, may_chat_or_correct, own_response
from .responses import response_record
from .schema import ClaimAnswer, ClaimQuery, ClaimRequest, ReleaseAnswer, ResponseRecord
from .statuses import WITH_BODY, refusals


def queue_router(replica: Replica) -> APIRouter:
    router, store = APIRouter(prefix="/v1/queue"), replica.store

    @router.post("/claims", responses=refusals(*WITH_BODY, 404, 409, 410))
    async def claim(body: ClaimRequest, key: Annotated[Key, Depends(may_chat_or_correct)]) -> ClaimAnswer:
        """Hold the next answer that fits and that nobody else holds, of this key's or with admin of all, for a while.

        What the same holder held before is given back, unless no other fits. Nobody is kept from correcting an answer
        that another holds.
        """
        return await run_in_threadpool(_claim, store, body, key, replica.settings.queue.claim_s)

    @router.delete("/claims/{response_id}", responses=refusals(400))
    async def release(
        response_id: str,
        query: Annotated[ClaimQuery, Query()],
        key: Annotated[Key, Depends(may_chat_or_correct)],
    ) -> ReleaseAnswer:
        """Give an answer back before its time is over."""
        was_held = await run_in_threadpool(store.claims.release, Holder(key.id, query.holder), response_id)
        return ReleaseAnswer(response_id=response_id, holder=query.holder, was_held=was_held)

    return router


def _claim(store: Store, body: ClaimRequest, key: Key, claim_s: float) -> ClaimAnswer:
    holder, now = Holder(key.id, body.holder), time.time()
    filters = {"adapter", "model", "user", "created_from", "created_before", "corrected"}
    wanted = WantedResponses(answered_to=answered_to(key), **body.model_dump(include=filters))
    record, claim = _take(store, body, key, holder, wanted, now, now + claim_s)
    return ClaimAnswer(
        response=record,
        holder=body.holder,
        expires=None if claim is None else int(claim.expires),
        num_waiting=store.claims.count_waiting(holder, wanted, now),
    )


def _take(
    store: Store,
    body: ClaimRequest,
    key: Key,
    holder: Holder,
    wanted: WantedResponses,
    now: float,
    until: float,
) -> tuple[ResponseRecord | None, Claim | None]:
    if body.response_id is not None:
        response = kept_response(store, body.response_id, key)
        claim = store.claims.take(holder, response.id, now=now, until=until)
        return response_record(store, response), claim
    if body.after is not None:
        own_response(store, body.after, key)
    found = store.claims.take_next(
        holder, wanted, now=now, until=until, after=body.after, direction=body.direction
    )
    if found is None:
        return None, None
    claim, response = found
    return response_record(store, response), claim
