"""What a client hears where Ray Serve's proxy itself answers. `tests/test_loop.py` hears it of a real one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest
from fastapi.responses import JSONResponse, PlainTextResponse, StreamingResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from serve import proxy_watchdog
from serve.proxy import middleware


@pytest.fixture(autouse=True)
def _no_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proxy_watchdog, "watch", lambda: None)


def answer_to(path: str, app: ASGIApp) -> httpx.Response:
    (one,) = middleware()

    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(one.cls(app, *one.args, **one.kwargs))
        async with httpx.AsyncClient(transport=transport, base_url="http://server") as client:
            return await client.get(path)

    return asyncio.run(ask())


def test_a_path_that_the_proxy_does_not_know_yet_is_worth_asking_again() -> None:
    found = answer_to("/v1/feedback", PlainTextResponse("Path '/v1/feedback' not found.", 404))
    assert (found.status_code, found.headers["Retry-After"]) == (503, "1")
    assert "ask again" in found.json()["error"]["message"]


def test_what_the_proxy_refuses_has_openai_s_shape_and_the_proxy_s_headers() -> None:
    headers = {"Retry-After": "7", "x-request-id": "one"}
    found = answer_to("/v1/models", PlainTextResponse("too many", 429, headers))
    assert (found.status_code, found.headers["Retry-After"]) == (429, "7")
    assert found.headers["x-request-id"] == "one"
    assert found.headers["content-type"] == "application/json"
    assert found.json()["error"] == {
        "message": "too many",
        "type": "rate_limit_error",
        "param": None,
        "code": None,
    }


def test_a_replica_that_dies_before_it_answers_is_worth_asking_again() -> None:
    async def dies(_scope: Scope, _receive: Receive, _send: Send) -> None:
        return None

    found = answer_to("/v1/models", dies)
    assert (found.status_code, found.headers["Retry-After"]) == (503, "1")
    assert "ended" in found.json()["error"]["message"]


@pytest.mark.parametrize("status", [200, 404, 500])
def test_what_a_replica_says_stays_as_it_is(status: int) -> None:
    found = answer_to("/v1/adapters/v1", JSONResponse({"error": "of a replica"}, status))
    assert (found.status_code, found.json()) == (status, {"error": "of a replica"})
    assert "Retry-After" not in found.headers


def test_an_answer_that_comes_in_parts_is_passed_on_in_parts() -> None:
    sent: list[bytes] = []

    async def parts() -> AsyncIterator[bytes]:
        for part in (b"one ", b"two"):
            yield part

    async def listening(scope: Scope, receive: Receive, send: Send) -> None:
        (one,) = middleware()
        app = one.cls(StreamingResponse(parts(), media_type="text/plain"), *one.args, **one.kwargs)

        async def keep(message: dict[str, object]) -> None:
            sent.append(message.get("body", b""))  # type: ignore[arg-type]
            await send(message)

        await app(scope, receive, keep)

    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(listening)
        async with httpx.AsyncClient(transport=transport, base_url="http://server") as client:
            return await client.get("/metrics")

    assert asyncio.run(ask()).text == "one two"
    assert [part for part in sent if part] == [b"one ", b"two"]


def test_what_the_proxy_says_of_itself_stays_as_it_is() -> None:
    found = answer_to("/-/healthz", PlainTextResponse("Route table is not populated yet.", 503))
    assert (found.status_code, found.text) == (503, "Route table is not populated yet.")
