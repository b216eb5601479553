"""/v1/responses: the records of answers, as corrections refer to them. Not OpenAI's Responses API."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query
from starlette.concurrency import run_in_threadpool

from align.conversation import Conversation, Text
from align.state import Key, Response, Store
from align.state.wanted import Wanted
from align.state.wanted_responses import WantedResponses
from serve.replica import Replica

from .auth import answered_to, kept_response, may_chat_or_correct, may_read_this, own_response
from .corrections import correction_answer
from .door import Visitor
from .schema import ResponseList, ResponseQuery, ResponseRecord, ResponseSummary
from .statuses import refusals

MAX_CORRECTIONS = 100


def responses_router(replica: Replica) -> APIRouter:
    router, store = APIRouter(prefix="/v1/responses"), replica.store

    @router.get("", responses=refusals(400, 404))
    async def every(
        query: Annotated[ResponseQuery, Query()], key: Annotated[Key, Depends(may_chat_or_correct)]
    ) -> ResponseList:
        """Answers to this key, to all with admin; the newest first, a page at a time."""
        return await run_in_threadpool(_page, store, query, key)

    @router.get("/{response_id}", responses=refusals(404, 410))
    async def one(response_id: str, key: Annotated[Key, Depends(may_read_this)]) -> ResponseRecord:
        """What was asked and answered, with its corrections: the key's own, or any with admin.

        With a feedback token, its own answer, without what the application said to the model and noted for itself.
        """

        def read() -> ResponseRecord:
            record = response_record(store, kept_response(store, response_id, key))
            return _for_visitors(record) if isinstance(key, Visitor) else record

        return await run_in_threadpool(read)

    return router


def response_record(store: Store, response: Response) -> ResponseRecord:
    found = store.corrections.matching(Wanted(response_id=response.id), MAX_CORRECTIONS)
    return ResponseRecord(
        id=response.id,
        created=int(response.created),
        model=response.model,
        adapter=response.adapter,
        messages=response.conversation,
        images=_images(response),
        text=response.text,
        num_tokens=len(response.token_ids),
        num_prompt_tokens=response.num_prompt_tokens,
        finish_reason=response.finish_reason,
        sampling=response.sampling,
        timings=response.timings,
        key_id=response.key_id,
        user=response.user,
        metadata=response.metadata,
        corrections=[correction_answer(one, response) for one, _ in found],
    )


def _for_visitors(record: ResponseRecord) -> ResponseRecord:
    messages = [message for message in record.messages if message["role"] != "system"]
    return record.model_copy(update={"messages": messages, "metadata": {}})


def _page(store: Store, query: ResponseQuery, key: Key) -> ResponseList:
    """`after` names an answer by its id and stands for its place in the order of time, which never changes."""
    if query.after is not None:
        own_response(store, query.after, key)
    wanted = WantedResponses(answered_to=answered_to(key), **query.model_dump(exclude={"limit", "after"}))
    found = store.responses.matching(wanted, query.limit + 1, query.after)
    data = [_summary(*one) for one in found[: query.limit]]
    return ResponseList(
        data=data,
        first_id=data[0].id if data else None,
        last_id=data[-1].id if data else None,
        has_more=len(found) > query.limit,
    )


def _summary(response: Response, num_corrections: int) -> ResponseSummary:
    return ResponseSummary(
        id=response.id,
        created=int(response.created),
        model=response.model,
        adapter=response.adapter,
        question=_question(response),
        text=response.text,
        images=_images(response),
        user=response.user,
        num_corrections=num_corrections,
    )


def _question(response: Response) -> str:
    messages = Conversation.from_json(response.conversation).messages
    asked = [message for message in messages if message.role == "user"][-1:]
    return "\n".join(part.text for message in asked for part in message.parts if isinstance(part, Text))


def _images(response: Response) -> list[str]:
    return list(dict.fromkeys(Conversation.from_json(response.conversation).image_ids))
