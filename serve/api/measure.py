"""Counts and times every HTTP request to its last byte, streams included."""

from __future__ import annotations

import asyncio
import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve.metrics import ReplicaMetrics

HUNG_UP = 499
"""The status of a request whose client left: nobody reads it, but it is no failure of the server's."""


class Measure:
    """Pure ASGI: Starlette's `BaseHTTPMiddleware` would stand between a client that hangs up and its stream."""

    def __init__(self, app: ASGIApp, metrics: ReplicaMetrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        start, status = time.perf_counter(), 500

        async def watch(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        self._metrics.requests_in_progress.inc()
        try:
            await self._app(scope, receive, watch)
        except asyncio.CancelledError:
            status = HUNG_UP
            raise
        finally:
            self._metrics.requests_in_progress.dec()
            route = getattr(scope.get("route"), "path", "unknown")
            self._metrics.requests.labels(route, status).inc()
            self._metrics.request_seconds.labels(route).observe(time.perf_counter() - start)
