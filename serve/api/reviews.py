"""/v1/reviews: the corrections in quarantine, and a reviewer's word on each."""

from __future__ import annotations

from typing import Annotated

import structlog
from fastapi import APIRouter, Depends, Query
from starlette.concurrency import run_in_threadpool

from align.abuse.screening import REASONS
from align.state import Correction, Key, Response
from serve.replica import Replica

from .auth import may_administer
from .schema import ReviewRequest, WaitingCorrection, WaitingList
from .statuses import WITH_BODY, refusals

MAX_SEQUENCE = 2**63 - 1
"""A database's largest number."""
log = structlog.get_logger()


def reviews_router(replica: Replica) -> APIRouter:
    router, store = APIRouter(prefix="/v1/reviews"), replica.store

    @router.get("", dependencies=[Depends(may_administer)], responses=refusals(400))
    async def waiting(
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
        after: Annotated[int, Query(ge=0, le=MAX_SEQUENCE)] = 0,
    ) -> WaitingList:
        """Corrections in quarantine, the oldest first; `after` is the last `sequence` of the page before."""

        def read() -> WaitingList:
            corrections = store.reviews.waiting(limit, after)
            return WaitingList(
                data=[_answer(one, store.responses.get(one.response_id)) for one in corrections]
            )

        return await run_in_threadpool(read)

    @router.post("/{correction_id}", responses=refusals(*WITH_BODY, 404, 409))
    async def review(
        correction_id: str, body: ReviewRequest, key: Annotated[Key, Depends(may_administer)]
    ) -> WaitingCorrection:
        """Release it, so that it teaches, or reject it for good. Each is reviewed once."""

        def settle() -> WaitingCorrection:
            settle = store.reviews.release if body.decision == "release" else store.reviews.reject
            correction = settle(correction_id, key.id)
            log.info("correction reviewed", id=correction_id, decision=body.decision, reviewer=key.id)
            return _answer(correction, store.responses.get(correction.response_id))

        return await run_in_threadpool(settle)

    return router


def _answer(correction: Correction, response: Response) -> WaitingCorrection:
    reason = correction.reason or ""
    return WaitingCorrection(
        id=correction.id,
        response_id=response.id,
        created=int(correction.created),
        sequence=correction.sequence,
        status=correction.status,
        reason=reason,
        explanation=REASONS.get(reason, reason),
        questioned=correction.questioned,
        source=correction.source,
        author=correction.author,
        served_text=response.text,
        corrected_text=correction.corrected_text,
        spans=correction.spans,
    )
