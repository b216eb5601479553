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
from serve.errors import ServeError
from serve.replica import Replica

from .answers import Answer, Answers
from .auth import may_chat
from .errors import error_body, status_of
from .logprobs import logprobs_json
from .measure import HUNG_UP
from .schema import ChatRequest

log = structlog.get_logger()


def chat_router(replica: Replica) -> APIRouter:
    router, answers = APIRouter(), Answers(replica)

    @router.post("/v1/chat/completions", response_model=None)
    async def complete(
        body: ChatRequest, key: Annotated[Key, Depends(may_chat)], request: Request
    ) -> HTTPResponse:
        """OpenAI's chat completion, text and images in, text out. `id` is what a correction refers to."""
        answer = await answers.begin(body, key)
        if body.stream:
            include_usage = body.stream_options is not None and body.stream_options.include_usage
            events = _events(answers, answer, body.model, include_usage=include_usage)
            headers = {**answer.headers, "cache-control": "no-cache", "x-accel-buffering": "no"}
            return EventStream(events, headers=headers, on_end=lambda: answers.leave(answer))
        try:
            if not await _unless_hung_up(request, _to_the_end(answers, answer)):
                return HTTPResponse(status_code=HUNG_UP)
        finally:
            answers.leave(answer)
        choice = {
            "index": 0,
            "message": {"role": "assistant", "content": answer.text},
            "finish_reason": answer.finish_reason,
            "logprobs": logprobs_json(answer.logprobs) if body.logprobs else None,
        }
        whole = _envelope(answer, body.model, "chat.completion", [choice])
        return JSONResponse({**whole, "usage": answer.usage}, headers=answer.headers)

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


async def _to_the_end(answers: Answers, answer: Answer) -> None:
    async for _delta in answers.follow(answer):
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


async def _events(answers: Answers, answer: Answer, model: str, *, include_usage: bool) -> AsyncIterator[str]:
    def event(delta: dict[str, Any], finish_reason: str | None = None, logprobs: Any = None) -> str:
        choice = {"index": 0, "delta": delta, "finish_reason": finish_reason, "logprobs": logprobs}
        return _sse(_envelope(answer, model, "chat.completion.chunk", [choice]))

    try:
        yield event({"role": "assistant", "content": ""})
        async for delta in answers.follow(answer):
            if delta.text or delta.logprobs:
                yield event(
                    {"content": delta.text},
                    logprobs=logprobs_json(delta.logprobs) if delta.logprobs else None,
                )
            if delta.finish_reason is not None:
                yield event({}, delta.finish_reason)
    except (ServeError, AlignError) as error:
        yield _sse(error_body(status_of(error), str(error)))
        return
    except (
        Exception
    ):  # the stream's outermost loop: its status is sent already, so the error is its last event
        log.exception("stream failed", response=answer.id)
        yield _sse(error_body(500, "internal error; the server's log says more"))
        return
    if include_usage:
        yield _sse({**_envelope(answer, model, "chat.completion.chunk", []), "usage": answer.usage})
    yield "data: [DONE]\n\n"


def _envelope(answer: Answer, model: str, kind: str, choices: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "id": answer.id,
        "object": kind,
        "created": int(answer.created),
        "model": model,
        "system_fingerprint": answer.adapter,
        "choices": choices,
    }


def _sse(body: dict[str, Any]) -> str:
    return f"data: {json.dumps(body, ensure_ascii=False)}\n\n"
