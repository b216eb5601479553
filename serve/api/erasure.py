"""DELETE: a response, a correction, or all of one source is forgotten for good, and what learned from it marked."""

from __future__ import annotations

from typing import Annotated, Literal

import structlog
from fastapi import APIRouter, Depends
from starlette.concurrency import run_in_threadpool

from align.erasure import erase_correction, erase_response, erase_source
from align.state import Erasure, Key
from serve.replica import Replica

from .auth import check_own, may_administer, may_chat, may_correct, own_response
from .schema import ErasureAnswer
from .statuses import refusals

log = structlog.get_logger()

Kind = Literal["chat.completion.deleted", "correction.deleted", "source.deleted"]


def erasure_router(replica: Replica) -> APIRouter:
    router, store, blobs = APIRouter(), replica.store, replica.blobs

    @router.delete("/v1/responses/{response_id}", responses=refusals(404))
    @router.delete("/v1/chat/completions/{response_id}", responses=refusals(404))
    async def response(response_id: str, key: Annotated[Key, Depends(may_chat)]) -> ErasureAnswer:
        """Forget an answer, its question, its images and its corrections: the key's own, or any with admin."""

        def erase() -> Erasure:
            return erase_response(store, blobs, own_response(store, response_id, key).id)

        return _answer(response_id, "chat.completion.deleted", await run_in_threadpool(erase))

    @router.delete("/v1/feedback/{correction_id}", responses=refusals(404))
    @router.delete("/feedback/{correction_id}", responses=refusals(404))
    async def correction(correction_id: str, key: Annotated[Key, Depends(may_correct)]) -> ErasureAnswer:
        """Forget a correction, the key's own or any with admin; the response stays."""

        def erase() -> Erasure:
            made_by = store.corrections.get(correction_id).key_id
            check_own(made_by, key, "this correction was made with another key")
            return erase_correction(store, blobs, correction_id)

        return _answer(correction_id, "correction.deleted", await run_in_threadpool(erase))

    @router.delete(
        "/v1/sources/{source_id:path}", dependencies=[Depends(may_administer)], responses=refusals(404)
    )
    async def source(source_id: str) -> ErasureAnswer:
        """Forget all that was answered to a key or corrected with it, or what one author corrected: KEY/AUTHOR.

        The key itself goes on; revoke it for that.
        """
        erasure = await run_in_threadpool(erase_source, store, blobs, source_id)
        return _answer(source_id, "source.deleted", erasure)

    return router


def _answer(name: str, kind: Kind, erasure: Erasure) -> ErasureAnswer:
    log.info(
        kind,
        id=name,
        responses=len(erasure.responses),
        corrections=len(erasure.corrections),
        tainted=erasure.tainted,
        run=erasure.run_id,
    )
    return ErasureAnswer(
        id=name,
        object=kind,
        responses=list(erasure.responses),
        corrections=list(erasure.corrections),
        tainted=list(erasure.tainted),
        alignment=erasure.run_id,
    )
