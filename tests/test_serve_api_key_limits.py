"""Limits of a key: what is left is told, what is too much is refused until then, and other keys never notice."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import httpx
import pytest
from fake_engine import FakeEngine
from hypothesis import given
from hypothesis import strategies as st
from served import body, error, listening, serving, wait_until

from align.state import Key
from serve.api.door import Gatekeeper, Headers, Visitor
from serve.api.key_limits import Turnstile
from serve.errors import RateLimited, Unauthenticated
from serve.settings import KeyLimits


def key(name: str = "ada", **limits: int) -> Key:
    return Key(f"key-{name}", 0.0, name, "", ["chat"], **limits)


def bearer(secret: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"}


# --- decided


def test_a_bucket_empties_at_once_and_fills_by_the_minute() -> None:
    turnstile, ada = Turnstile(KeyLimits()), key(requests_per_minute=3)
    left = [turnstile.enter(ada, 100.0)["x-ratelimit-remaining-requests"] for _ in range(3)]
    assert left == ["2", "1", "0"]
    with pytest.raises(RateLimited, match="this key may send 3 requests a minute") as refused:
        turnstile.enter(ada, 100.0)
    assert refused.value.retry_after_s == 20.0
    with pytest.raises(RateLimited) as refused:
        turnstile.enter(ada, 115.0)
    assert refused.value.retry_after_s == pytest.approx(5.0)
    assert turnstile.enter(ada, 120.0)["x-ratelimit-reset-requests"] == "60.000s"
    assert turnstile.enter(ada, 10_000.0)["x-ratelimit-remaining-requests"] == "2", (
        "never more than a minute's"
    )


@given(
    per_minute=st.integers(1, 1000),
    pauses=st.lists(st.floats(0, 100), max_size=60),
)
def test_who_waits_as_long_as_told_is_let_in_and_nobody_gets_more_than_the_limit(
    per_minute: int, pauses: list[float]
) -> None:
    turnstile, ada = Turnstile(KeyLimits()), key(requests_per_minute=per_minute)
    now, admitted = 0.0, 0
    for pause in pauses:
        now += pause
        try:
            turnstile.enter(ada, now)
        except RateLimited as refused:
            now += refused.retry_after_s + 1e-6
            turnstile.enter(ada, now)
        admitted += 1
    assert admitted <= per_minute + now * per_minute / 60 + 1e-6


def test_keys_do_not_count_for_one_another() -> None:
    turnstile = Turnstile(KeyLimits(requests_per_minute=1, max_concurrent=1))
    turnstile.enter(key("ada"), 0.0)
    turnstile.enter(key("bob"), 0.0)
    with pytest.raises(RateLimited, match="1 requests at once"):
        turnstile.enter(key("ada"), 0.0)


def test_a_keys_own_limit_goes_before_the_servers() -> None:
    turnstile = Turnstile(KeyLimits(requests_per_minute=1, max_concurrent=1))
    ada = key(requests_per_minute=2, max_concurrent=2)
    for _ in range(2):
        turnstile.enter(ada, 0.0)
    with pytest.raises(RateLimited, match="2 requests at once"):
        turnstile.enter(ada, 0.0)


def test_browsers_do_not_use_up_what_their_application_may_ask_for() -> None:
    turnstile, ada = Turnstile(KeyLimits()), key(requests_per_minute=1)
    browser = Visitor(**asdict(ada), response_id="chatcmpl-1")
    turnstile.enter(browser, 0.0)
    turnstile.enter(ada, 0.0)
    for refused in (browser, ada):
        with pytest.raises(RateLimited, match="1 requests a minute"):
            turnstile.enter(refused, 0.0)


def test_a_request_that_is_refused_costs_nothing() -> None:
    turnstile, ada = Turnstile(KeyLimits()), key(requests_per_minute=2, max_concurrent=1)
    turnstile.enter(ada, 0.0)
    for _ in range(5):
        with pytest.raises(RateLimited, match="at once"):
            turnstile.enter(ada, 0.0)
    turnstile.leave(ada)
    assert turnstile.enter(ada, 0.0)["x-ratelimit-remaining-requests"] == "0"
    turnstile.leave(ada)
    with pytest.raises(RateLimited, match="a minute"):
        turnstile.enter(ada, 0.0)
    assert turnstile._num_running == {}, "nothing is kept of keys that ask for nothing"


# --- over HTTP


def test_a_key_that_asks_too_often_is_told_when_to_come_back(tmp_path: Path) -> None:
    with serving(tmp_path) as served:
        _, limited = served.store.keys.create("ada", ["chat"], requests_per_minute=3)
        _, free = served.store.keys.create("bob", ["chat"])
        wait_until(lambda: served.client.get("/v1/models").status_code == 401)
        began = time.monotonic()
        answers = [served.client.get("/v1/models", headers=bearer(limited)) for _ in range(3)]
        assert [answer.headers["x-ratelimit-remaining-requests"] for answer in answers] == ["2", "1", "0"]
        refused = served.chat(headers=bearer(limited))
        detail = error(refused, 429)
        assert (detail["type"], detail["code"]) == ("rate_limit_error", "rate_limit_exceeded")
        passed_s = time.monotonic() - began
        assert 20 - passed_s <= int(refused.headers["retry-after"]) <= 20
        assert served.engine.submitted == []
        other = served.client.get("/v1/models", headers=bearer(free))
        assert other.status_code == 200
        assert not any(name.startswith("x-ratelimit") for name in other.headers)
        assert served.client.get("/healthz").status_code == 200


@contextmanager
def streams(address: str, number: int, secret: str | None = None) -> Iterator[list[Any]]:
    """So many streams, each with its first event read."""
    headers = {} if secret is None else bearer(secret)
    with ExitStack() as stack:
        client = stack.enter_context(httpx.Client(trust_env=False, timeout=20))
        answers = [
            stack.enter_context(
                client.stream(
                    "POST", f"{address}/v1/chat/completions", json=body(stream=True), headers=headers
                )
            )
            for _ in range(number)
        ]
        yield answers


def ask(address: str, secret: str | None = None) -> httpx.Response:
    with httpx.Client(trust_env=False, timeout=20) as client:
        headers = {} if secret is None else bearer(secret)
        return client.post(f"{address}/v1/chat/completions", json=body(), headers=headers)


@pytest.mark.parametrize("ending", ["whole", "hung up"])
def test_a_key_has_so_many_streams_at_once_and_each_that_ends_makes_room(tmp_path: Path, ending: str) -> None:
    with serving(tmp_path) as served, listening(served) as address:
        _, secret = served.store.keys.create("ada", ["chat"], max_concurrent=2)
        _, other = served.store.keys.create("bob", ["chat"])
        served.engine.hold()
        with streams(address, 2, secret) as running:
            assert [one.status_code for one in running] == [200, 200]
            refused = ask(address, secret)
            assert "2 requests at once" in error(refused, 429)["message"]
            assert refused.headers["retry-after"] == "1"
            with streams(address, 1, other) as others:
                assert others[0].status_code == 200
            if ending == "whole":
                served.engine.go_on()
                assert all("data: [DONE]" in one.read().decode() for one in running)
        served.engine.go_on()
        wait_until(lambda: ask(address, secret).status_code == 200)


def test_a_failed_request_makes_room_as_well(tmp_path: Path) -> None:
    with serving(tmp_path, key_limits={"max_concurrent": 1}) as served:
        for _ in range(3):
            error(served.chat(temperature=9), 400)
            served.engine.error_after = 1
            error(served.chat(), 500)
            served.engine.error_after = None
            assert served.chat().status_code == 200


def test_a_full_queue_refuses_over_http_until_there_is_room(tmp_path: Path) -> None:
    with serving(tmp_path, FakeEngine(max_waiting=2)) as served, listening(served) as address:
        served.engine.hold()
        with streams(address, 2) as running:
            refused = ask(address)
            assert error(refused, 429)["type"] == "rate_limit_error"
            assert refused.headers["retry-after"] == "1"
            assert len(served.engine.submitted) == 2
            served.engine.go_on()
            assert all("data: [DONE]" in one.read().decode() for one in running)
        assert ask(address).status_code == 200


# --- guesses


def test_guesses_of_keys_that_come_at_once_ask_the_store_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(tmp_path) as served:
        _, secret = served.store.keys.create("ada", ["chat"])
        keys, asked = served.store.keys.active, list[int]()

        def count() -> list[Key]:
            asked.append(1)
            return keys()

        monkeypatch.setattr(served.store.keys, "active", count)
        gatekeeper = Gatekeeper(served.store, is_loopback=False)

        async def guess(number: int) -> bool:
            try:
                await gatekeeper.identify(Headers(bearer(secret if number == 77 else f"sk-errata-{number}")))
            except Unauthenticated:
                return False
            return True

        async def guess_all() -> list[bool]:
            return list(await asyncio.gather(*map(guess, range(200))))

        assert [n for n, found in enumerate(asyncio.run(guess_all())) if found] == [77]
        assert len(asked) == 1
