"""Who asks. Without any key in the store, a server on loopback is open; no other one ever is.

The key is checked here, before a body is read; `auth` says what it may do.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from dataclasses import asdict, dataclass

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import URL, Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from align.state import Key, Store
from align.state.database import AWAY
from align.state.keys import find_key
from serve.errors import ServeError, Unauthenticated
from serve.settings import is_loopback

from .errors import response_to, response_while_away
from .feedback_token import SECRET, is_feedback_token, read
from .key_limits import Turnstile

ANONYMOUS = Key(id="anonymous", created=0.0, name="loopback", sha256="", scopes=["admin"])
GUARDED = ("/v1", "/feedback")
ONE_RESPONSE = "feedback on one response"
"""The scope of a feedback token, which no key can have: a route that does not name it is closed to tokens."""


@dataclass(frozen=True)
class Visitor(Key):
    """Who comes with a feedback token: the key that asked for it, cut down to one of its responses."""

    response_id: str = ""
    author: str | None = None

    @property
    def account(self) -> str:
        """Browsers must not use up what the application itself may ask for."""
        return f"{self.id}/visitors"


class Gatekeeper:
    """Finds a request's key. What the store answers is remembered for a moment: chat must not wait for it.

    Secrets hold 256 random bits, so guesses are only to be kept cheap: all that come at once ask the store once.
    """

    def __init__(self, store: Store, *, is_loopback: bool, remember_s: float = 1.0) -> None:
        self._store = store
        self._is_loopback = is_loopback
        self._remember_s = remember_s
        self._has_keys: tuple[float, bool] | None = None
        self._found: dict[str, tuple[float, Key]] = {}
        self._reading: asyncio.Future[list[Key]] | None = None

    async def identify(self, headers: Headers) -> Key:
        """Raises `Unauthenticated`."""
        kind, _, secret = headers.get("authorization", "").partition(" ")
        secret = secret.strip() if kind.lower() == "bearer" else ""
        is_open = self._is_loopback and not await self._keys_exist()
        if is_open:
            _check_local(headers)
        if is_feedback_token(secret):
            return await run_in_threadpool(self._visit, secret, is_open)
        if is_open:
            return ANONYMOUS
        if not secret:
            raise Unauthenticated(
                "send a key: `Authorization: Bearer sk-errata-...`; `errata keys create` makes one"
            )
        key = await self._find(secret)
        if key is None:
            raise Unauthenticated("this key is not known, or it was revoked")
        return key

    def _visit(self, token: str, is_open: bool) -> Visitor:
        """Raises `Unauthenticated` on a token that is not good, or no longer because of its key."""
        claims = read(token, self._store.secrets.get(SECRET))
        is_anonymous = is_open and claims.key_id == ANONYMOUS.id
        key = ANONYMOUS if is_anonymous else self._store.keys.with_id(claims.key_id)
        if key is None:
            raise Unauthenticated("the key that this feedback token was given to is not in use any more")
        scopes = [ONE_RESPONSE]
        if claims.author is not None and "authors" in key.scopes:
            scopes.append("authors")
        return Visitor(
            **{**asdict(key), "sha256": "", "scopes": scopes},
            response_id=claims.response_id,
            author=claims.author,
        )

    async def _keys_exist(self) -> bool:
        if self._has_keys is None or time.monotonic() - self._has_keys[0] > self._remember_s:
            self._has_keys = (time.monotonic(), await run_in_threadpool(self._store.keys.exist))
        return self._has_keys[1]

    async def _find(self, secret: str) -> Key | None:
        now = time.monotonic()
        if secret in self._found and now - self._found[secret][0] < self._remember_s:
            return self._found[secret][1]
        key = find_key(secret, await self._active())
        if key is None:
            self._found.pop(secret, None)
        else:
            self._found[secret] = (now, key)
        return key

    async def _active(self) -> list[Key]:
        if self._reading is None:
            self._reading = asyncio.ensure_future(run_in_threadpool(self._store.keys.active))
            self._reading.add_done_callback(self._forget_reading)
        return await asyncio.shield(self._reading)

    def _forget_reading(self, _: object) -> None:
        self._reading = None


class Door:
    """ASGI middleware: a request to a guarded path goes on with its key in `request.state.key`, or not at all."""

    def __init__(self, app: ASGIApp, gatekeeper: Gatekeeper, turnstile: Turnstile) -> None:
        self._app = app
        self._gatekeeper, self._turnstile = gatekeeper, turnstile

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].startswith(GUARDED):
            return await self._app(scope, receive, send)
        try:
            key = await self._gatekeeper.identify(Headers(scope=scope))
            headers = self._turnstile.enter(key, time.monotonic())
        except ServeError as error:
            return await response_to(error)(scope, receive, send)
        except AWAY as error:
            return await response_while_away(scope["path"], error)(scope, receive, send)

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(raw=message["headers"]).update(headers)
            await send(message)

        scope.setdefault("state", {})["key"] = key
        try:
            await self._app(scope, receive, send_with_headers)
        finally:
            self._turnstile.leave(key)


def _check_local(headers: Headers) -> None:
    """An open server answers this machine's programs, not a web page that its browser happens to show.

    A page of another site can send requests to 127.0.0.1 (its `Origin` tells), or have its own name point there
    (`Host` tells).
    """
    for name in ("host", "origin"):
        value = headers.get(name)
        if value is None:
            continue
        host = _host(value if name == "origin" else f"//{value}")
        if host is None or not is_loopback(host):
            raise Unauthenticated(
                f"without keys this server answers its own machine only, and the request's {name} is {value!r}; "
                "`errata keys create` makes a key"
            )


def _host(url: str) -> str | None:
    with suppress(ValueError):  # as of a bracket that does not close
        return URL(url).hostname
    return None
