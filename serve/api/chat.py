"""POST /v1/chat/completions: one conversation in, one recorded answer out, whole or as a stream."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import suppress
from typing import Annotated, Any

import structlog
from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse, StreamingResponse
from starlette.responses import Response as HTTPResponse
from starlette.types import Receive, Scope, Send

from align.errors import AlignError
from align.state import Key
from align.state.database import AWAY
from serve.engine.protocol import Delta
from serve.errors import ServeError
from serve.replica import Replica

from .answers import Answers
from .auth import may_chat
from .completion import Answer, Completion
from .errors import DATABASE_AWAY, error_body, status_of
from .logprobs import logprobs_json
from .measure import HUNG_UP
from .schema import ChatRequest, CompletionAnswer
from .statuses import WITH_BODY, Documented, refusals, with_headers

EVENT = {
    "type": "object",
    "description": "`data` is OpenAI's chat.completion.chunk as JSON; an error, as elsewhere; or [DONE] at the end",
    "properties": {"data": {"type": "string"}},
    "required": ["data"],
}
ANSWERS: Documented = {
    200: {
        "model": CompletionAnswer,
        "content": {"text/event-stream": {"schema": EVENT}},
        "description": "The answer, or with `stream` its chunks as server-sent events",
        **with_headers(
            {
                "x-errata-adapter": "The version that answered",
                "x-errata-response-id": "What a correction refers to; left out with store=false",
                "x-errata-feedback-token": "Of the first answer, where it was asked for",
            }
        ),
    },
    **refusals(*WITH_BODY, 404, 503, 504),
}
log = structlog.get_logger()


def chat_router(replica: Replica) -> APIRouter:
    router, answers = APIRouter(), Answers(replica)
    hold_s = replica.settings.stream_hold_s

    @router.post("/v1/chat/completions", response_model=None, responses=ANSWERS)
    async def complete(
        body: ChatRequest, key: Annotated[Key, Depends(may_chat)], request: Request
    ) -> HTTPResponse:
        """OpenAI's chat completion, text and images in, text out. `response_id` is what a correction refers to."""
        asked = request.state.request_id, request.headers.get("traceparent")
        completion = await answers.begin(body, key, *asked)
        request.state.has_answer = True  # which has a trace of its own, however it ends
        if body.stream:
            events = _events(answers.follow(completion, hold_s), completion, body)
            headers = {**completion.headers, "cache-control": "no-cache", "x-accel-buffering": "no"}
            return EventStream(events, headers=headers, on_end=lambda: answers.leave(completion))
        try:
            if not await _unless_hung_up(request, _to_the_end(answers, completion)):
                return HTTPResponse(status_code=HUNG_UP)
        finally:
            answers.leave(completion)
        choices = [_choice(answer, body) for answer in completion.answers]
        whole = _envelope(completion, body.model, "chat.completion", choices)
        return JSONResponse({**whole, "usage": completion.usage}, headers=completion.headers)

    return router


class EventStream(StreamingResponse):
    """Server-sent events. `on_end` is called however it ends, even where the client left before the first event."""

    def __init__(
        self, events: AsyncIterator[str], headers: Mapping[str, str], on_end: Callable[[], None]
    ) -> None:
        super().__init__(events, headers=headers, media_type="text/event-stream")
        self._on_end = on_end

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._on_end()


async def _to_the_end(answers: Answers, completion: Completion) -> None:
    async for _ in answers.follow(completion):
        pass


async def _unless_hung_up(request: Request, work: Coroutine[Any, Any, None]) -> bool:
    """Whether the work came to its end before the client left; a stream notices that by itself, this does not."""

    async def wait_for_disconnect() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    working = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(wait_for_disconnect())
    try:
        await asyncio.wait((working, leaving), return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            return False
        await working
        return True
    finally:
        for task in (working, leaving):
            task.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await task


async def _events(
    news: AsyncIterator[list[tuple[Answer, Delta]]], completion: Completion, body: ChatRequest
) -> AsyncIterator[str]:
    """Several events may leave together: what is told at once is sent at once."""

    def chunk(choices: list[dict[str, Any]]) -> dict[str, Any]:
        return _envelope(completion, body.model, "chat.completion.chunk", choices)

    begin = {"role": "assistant", "content": ""}
    try:
        yield "".join(
            _sse(chunk([{**_piece(answer, begin), **_token(answer)}])) for answer in completion.answers
        )
        async for deltas in news:
            pieces = [piece for answer, delta in deltas for piece in _pieces(answer, delta)]
            yield "".join(_sse(chunk([piece])) for piece in pieces)
    except (ServeError, AlignError) as error:
        yield _sse(error_body(status_of(error), str(error)))
        return
    except AWAY:
        log.exception("the database is away", response=completion.id)
        yield _sse(error_body(503, DATABASE_AWAY))
        return
    except (
        Exception
    ):  # the stream's outermost loop: its status is sent already, so the error is its last event
        log.exception("stream failed", response=completion.id)
        yield _sse(error_body(500, "internal error; the server's log says more"))
        return
    include_usage = body.stream_options is not None and body.stream_options.include_usage
    usage = _sse({**chunk([]), "usage": completion.usage}) if include_usage else ""
    yield usage + "data: [DONE]\n\n"


def _choice(answer: Answer, body: ChatRequest) -> dict[str, Any]:
    return {
        "index": answer.index,
        "message": {"role": "assistant", "content": answer.text},
        "finish_reason": answer.finish_reason,
        "logprobs": logprobs_json(answer.logprobs) if body.logprobs else None,
        **_record(answer),
        **_token(answer),
    }


def _pieces(answer: Answer, delta: Delta) -> list[dict[str, Any]]:
    """Of a stream's choice: what a delta adds, and the end by itself, as OpenAI tells it."""
    pieces = []
    if delta.text or delta.logprobs:
        logprobs = logprobs_json(delta.logprobs) if delta.logprobs else None
        pieces.append(_piece(answer, {"content": delta.text}, logprobs=logprobs))
    if delta.finish_reason is not None:
        pieces.append(_piece(answer, {}, delta.finish_reason))
    return pieces


def _piece(
    answer: Answer, delta: dict[str, Any], finish_reason: str | None = None, logprobs: Any = None
) -> dict[str, Any]:
    return {
        "index": answer.index,
        "delta": delta,
        "finish_reason": finish_reason,
        "logprobs": logprobs,
        **_record(answer),
    }


def _record(answer: Answer) -> dict[str, str]:
    return {} if answer.response_id is None else {"response_id": answer.response_id}


def _token(answer: Answer) -> dict[str, str]:
    return {} if answer.feedback_token is None else {"feedback_token": answer.feedback_token}


def _envelope(completion: Completion, model: str, kind: str, choices: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "id": completion.id,
        "object": kind,
        "created": int(completion.created),
        "model": model,
        "system_fingerprint": completion.adapter,
        "choices": choices,
    }


def _sse(body: dict[str, Any]) -> str:
    return f"data: {json.dumps(body, ensure_ascii=False)}\n\n"
