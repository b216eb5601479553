"""Refuses a body that is too large, holds too many values or comes too slowly: as it is read, before it is parsed."""

from __future__ import annotations

import asyncio
import time

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .errors import error_response

VALUES = (b"{", b"[", b",")
"""One of them stands before each value of a JSON body but the first; texts may hold them, too."""

SHORT_BODY = 2**16
"""Bytes that a server reads ahead, so that nothing is left to come when the answer is sent."""


class BodyLimit:
    def __init__(self, app: ASGIApp, max_bytes: int, max_values: int, timeout_s: float) -> None:
        """`timeout_s` is for the whole body. A million small values would hold up everyone while they are parsed."""
        self._app = app
        self._max_bytes, self._max_values, self._timeout_s = max_bytes, max_values, timeout_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        headers = Headers(scope=scope)
        length = headers.get("content-length", "0")
        num_bytes = int(length) if length.isdecimal() else None
        is_short = "transfer-encoding" not in headers and num_bytes is not None and num_bytes <= SHORT_BODY
        body = _Body(self, receive, send, is_short=is_short)
        if num_bytes is None or num_bytes > self._max_bytes:
            return await error_response(413, self._too_large)(scope, receive, body.send)
        return await self._app(scope, body.receive, body.send)

    def check(self, num_bytes: int, num_values: int) -> None:
        """What it raises is raised in the route that reads, and FastAPI lets it through."""
        if num_bytes > self._max_bytes:
            raise HTTPException(413, self._too_large)
        if num_values > self._max_values:
            raise HTTPException(413, f"a request may hold {self._max_values} values; send fewer at once")

    async def in_time(self, receive: Receive, began: float) -> Message:
        try:
            return await asyncio.wait_for(receive(), began + self._timeout_s - time.monotonic())
        except TimeoutError as error:
            raise HTTPException(
                408, f"the body took longer than {self._timeout_s:g} s; send it again"
            ) from error

    @property
    def _too_large(self) -> str:
        return f"a request may have {self._max_bytes} bytes; send smaller or fewer images"


class _Body:
    """One request's body: how much of it has come."""

    def __init__(self, limit: BodyLimit, receive: Receive, send: Send, *, is_short: bool) -> None:
        self._limit, self._receive, self._send, self._is_short = limit, receive, send, is_short
        self._is_whole = False  # after that, what is waited for is the client's leaving
        self._num_bytes = self._num_values = 0
        self._began: float | None = None

    async def receive(self) -> Message:
        if self._is_whole:
            return await self._receive()
        self._began = self._began or time.monotonic()
        part = await self._limit.in_time(self._receive, self._began)
        data = part.get("body", b"")
        self._num_bytes += len(data)
        self._num_values += sum(data.count(mark) for mark in VALUES)
        self._limit.check(self._num_bytes, self._num_values)
        self._is_whole = not part.get("more_body", False)
        return part

    async def send(self, message: Message) -> None:
        """An answer to a body that is still coming ends the connection: else the rest is read, without an end."""
        if message["type"] == "http.response.start" and not (self._is_whole or self._is_short):
            MutableHeaders(raw=message["headers"])["connection"] = "close"
        await self._send(message)
