"""/v1/responses: the record of an answer, as corrections refer to it. Not OpenAI's Responses API."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends
from starlette.concurrency import run_in_threadpool

from align.conversation import Conversation
from align.state import Key, Response
from align.state.wanted import Wanted
from serve.errors import Erased
from serve.replica import Replica

from .auth import may_chat_or_correct, own_response
from .corrections import correction_answer
from .schema import CorrectionAnswer, ResponseRecord
from .statuses import refusals

MAX_CORRECTIONS = 100


def responses_router(replica: Replica) -> APIRouter:
    router, store = APIRouter(prefix="/v1/responses"), replica.store

    @router.get("/{response_id}", responses=refusals(404, 410))
    async def one(response_id: str, key: Annotated[Key, Depends(may_chat_or_correct)]) -> ResponseRecord:
        """What was asked and answered, with its corrections: the key's own, or any with admin."""

        def read() -> ResponseRecord:
            response = own_response(store, response_id, key)
            if response.is_erased:
                raise Erased(f"response {response.id!r} was deleted; its record is gone")
            found = store.corrections.matching(Wanted(response_id=response.id), MAX_CORRECTIONS)
            return _record(response, [correction_answer(one, response) for one, _ in found])

        return await run_in_threadpool(read)

    return router


def _record(response: Response, corrections: list[CorrectionAnswer]) -> ResponseRecord:
    images = Conversation.from_json(response.conversation).image_ids
    return ResponseRecord(
        id=response.id,
        created=int(response.created),
        model=response.model,
        adapter=response.adapter,
        messages=response.conversation,
        images=list(dict.fromkeys(images)),
        text=response.text,
        num_tokens=len(response.token_ids),
        num_prompt_tokens=response.num_prompt_tokens,
        finish_reason=response.finish_reason,
        sampling=response.sampling,
        timings=response.timings,
        key_id=response.key_id,
        user=response.user,
        metadata=response.metadata,
        corrections=corrections,
    )
