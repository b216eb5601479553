"""What Ray Serve's proxy answers by itself, said as this server says it: OpenAI's shape, and nothing final that is not.

Until the proxy has been told the server's routes it answers 404, and where a replica dies over a request, with a 500 in
plain text. Both are over in a moment: a client is to ask again.
"""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from . import proxy_watchdog
from .api.errors import error_response

NO_ROUTES = "the server is starting or ending and answers nothing yet; ask again in a moment"
NO_ANSWER = "the replica that worked on this has ended before it answered; ask again"


def middleware() -> list[Middleware]:
    """What `RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH` names in the environment of Ray; called by each proxy once."""
    proxy_watchdog.watch()
    return [Middleware(ProxyErrors)]


class ProxyErrors:
    """Around Ray Serve's proxy; what its replicas answer passes as it is, and so does the proxy's own `/-/`."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith("/-/"):
            return await self._app(scope, receive, send)
        answer = _Answer(send)
        await self._app(scope, receive, answer.send)
        if not answer.has_begun:
            await error_response(503, NO_ANSWER)(scope, receive, send)
        return None


class _Answer:
    def __init__(self, send: Send) -> None:
        self._send = send
        self._start_of_own: Message | None = None
        self.has_begun = False

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.has_begun = True
            self._start_of_own = message if _is_own_error(message) else None
        if self._start_of_own is None:
            await self._send(message)
        elif message["type"] == "http.response.body":
            await self._say(self._start_of_own, message.get("body", b"").decode())

    async def _say(self, start: Message, text: str) -> None:
        # the server's route is "/", so that no path is unknown to a proxy that knows it
        status, text = (503, NO_ROUTES) if start["status"] == 404 else (start["status"], text)
        response = error_response(status, text)
        for name, value in Headers(raw=start["headers"]).items():
            if not name.startswith("content-"):
                response.headers[name] = value
        await self._send({**start, "status": status, "headers": response.raw_headers})
        await self._send({"type": "http.response.body", "body": response.body})


def _is_own_error(start: Message) -> bool:
    """Replicas say each error as JSON, Ray Serve each in plain text."""
    kind = Headers(raw=start["headers"]).get("content-type", "")
    return start["status"] >= 400 and kind.startswith("text/plain")
