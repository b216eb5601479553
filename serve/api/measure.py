"""Counts, times, logs and, if refused, traces each HTTP request to its last byte: one line each, with no word of it."""

from __future__ import annotations

import asyncio
import re
import time
import uuid
from typing import TYPE_CHECKING

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.contextvars import bound_contextvars

from serve.metrics import ReplicaMetrics

if TYPE_CHECKING:
    from serve.traces import Traces

log = structlog.get_logger()

HUNG_UP = 499
"""The status of a request whose client left: nobody reads it, but it is no failure of the server's."""
REQUEST_ID = "x-request-id"
MAY_BE_AN_ID = re.compile(r"[\w.:-]{1,128}", re.ASCII)
"""What a client calls its request, which is logged and never told again; other words of its own are not."""
ASKED_ALL_THE_TIME = ("/healthz", "/readyz", "/metrics", "/metrics/targets")
"""Logged only where they fail: they would drown all others."""


class Measure:
    """Pure ASGI: Starlette's `BaseHTTPMiddleware` would stand between a client that hangs up and its stream."""

    def __init__(self, app: ASGIApp, metrics: ReplicaMetrics, traces: Traces | None = None) -> None:
        self._app = app
        self._metrics = metrics
        self._traces = traces

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        request = _Request(scope)

        async def watch(message: Message) -> None:
            request.see(message)
            await send(message)

        self._metrics.requests_in_progress.inc()
        try:
            with bound_contextvars(request=request.id):  # whatever is logged meanwhile has it
                await self._app(scope, receive, watch)
        except asyncio.CancelledError:
            request.status = HUNG_UP
            raise
        finally:
            self._metrics.requests_in_progress.dec()
            self._metrics.requests.labels(request.route, request.status).inc()
            self._metrics.request_seconds.labels(request.route).observe(request.seconds)
            request.log()
            if self._traces is not None:
                request.trace(self._traces)


class _Request:
    """What is known of one from outside: its headers, its route, its key and its times."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope
        self._start = time.perf_counter()
        self._first_byte_s: float | None = None
        self._answer: dict[str, str] = {}
        self.status = 500
        self.id = scope.setdefault("state", {})["request_id"] = uuid.uuid4().hex
        named = Headers(scope=scope).get(REQUEST_ID, "")
        self._named = {"client_request": named} if MAY_BE_AN_ID.fullmatch(named) else {}

    @property
    def route(self) -> str:
        return getattr(self._scope.get("route"), "path", "unknown")

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self._start

    def see(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(raw=message["headers"])
            headers[REQUEST_ID] = self.id
            names = {"response": "x-errata-response-id", "adapter": "x-errata-adapter"}
            self._answer = {name: headers[header] for name, header in names.items() if header in headers}
        elif self._first_byte_s is None and message.get("body"):
            self._first_byte_s = self.seconds

    def trace(self, traces: Traces) -> None:
        """An answer that was begun tells of itself, and of who left there is nothing to tell."""
        is_refused = self.status >= 400 and self.status != HUNG_UP
        has_answer = self._scope["state"].get("has_answer", False)
        if not is_refused or has_answer or self.route in ASKED_ALL_THE_TIME:
            return
        from .answer_trace import trace_of_refusal

        route = self.route if "route" in self._scope else None
        traceparent = Headers(scope=self._scope).get("traceparent")
        traces.ended(
            trace_of_refusal(self._scope["method"], route, self.status, self.id, self.seconds, traceparent)
        )

    def log(self) -> None:
        if self.route in ASKED_ALL_THE_TIME and self.status < 400:
            return
        key = self._scope.get("state", {}).get("key")
        log.info(
            "request",
            request=self.id,
            **self._named,
            method=self._scope["method"],
            route=self.route,
            status=self.status,
            key=None if key is None else key.id,
            **self._answer,
            first_byte_s=None if self._first_byte_s is None else round(self._first_byte_s, 6),
            total_s=round(self.seconds, 6),
        )
