"""GET /feedback: corrections as they are stored, one by one and as a list."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Depends, Query
from starlette.concurrency import run_in_threadpool

from align.lineage import uses_of
from align.state import Correction, Key, Response, Store
from align.state.wanted import Wanted
from serve.replica import Replica

from .auth import answered_to, may_correct_this, own_response
from .door import Visitor
from .schema import CorrectionAnswer, CorrectionList, CorrectionQuery, CorrectionStory, UseAnswer
from .statuses import refusals


def corrections_router(replica: Replica) -> APIRouter:
    router, store = APIRouter(), replica.store

    @router.get("/v1/feedback", responses=refusals(400, 404))
    @router.get("/feedback", responses=refusals(400, 404))
    async def every(
        query: Annotated[CorrectionQuery, Query()], key: Annotated[Key, Depends(may_correct_this)]
    ) -> CorrectionList:
        """Corrections of this key's own answers, of all with admin; the newest first, a page at a time."""
        return await run_in_threadpool(_page, store, query, key)

    @router.get("/v1/feedback/{correction_id}", responses=refusals(404))
    @router.get("/feedback/{correction_id}", responses=refusals(404))
    async def show(correction_id: str, key: Annotated[Key, Depends(may_correct_this)]) -> CorrectionStory:
        """A correction as it is stored, with the text that was served and the adapters that learned from it."""

        def read() -> CorrectionStory:
            correction = store.corrections.get(correction_id)
            answer = correction_answer(correction, own_response(store, correction.response_id, key))
            used_by = [UseAnswer(**asdict(use)) for use in uses_of(store, correction_id)]
            return CorrectionStory(**answer.model_dump(), used_by=used_by)

        return await run_in_threadpool(read)

    return router


def _page(store: Store, query: CorrectionQuery, key: Key) -> CorrectionList:
    """`after` names a correction by its id and stands for its place in the order of arrival, which never changes."""
    if isinstance(key, Visitor):
        own_response(store, query.response_id or key.response_id, key)
        query = query.model_copy(update={"response_id": key.response_id})
    wanted = Wanted(
        answered_to=None if isinstance(key, Visitor) else answered_to(key),
        **query.model_dump(exclude={"limit", "after"}),
    )
    before = None
    if query.after is not None:
        last = store.corrections.get(query.after)
        own_response(store, last.response_id, key)
        before = last.sequence
    found = store.corrections.matching(wanted, query.limit + 1, before)
    data = [correction_answer(*one) for one in found[: query.limit]]
    return CorrectionList(
        data=data,
        first_id=data[0].id if data else None,
        last_id=data[-1].id if data else None,
        has_more=len(found) > query.limit,
    )


def correction_answer(correction: Correction, response: Response) -> CorrectionAnswer:
    return CorrectionAnswer(
        id=correction.id,
        response_id=response.id,
        created=int(correction.created),
        status=correction.status,
        reason=correction.reason,
        served_text=response.text,
        corrected_text=correction.corrected_text,
        spans=correction.spans,
        adapter=response.adapter,
        author=correction.author,
    )
