"""Bodies, attacked: endless, slow, deep, of a million values. None of them holds up the others, or fails as a 5xx."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from served import Served, body, error, listening, serving

JSON = {"content-type": "application/json"}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    limits = {"max_body_bytes": 4_000_000, "max_body_values": 50_000, "body_timeout_s": 0.5}
    with serving(tmp_path_factory.mktemp("state"), **limits) as served:
        yield served


@pytest.fixture(scope="module")
def address(served: Served) -> Iterator[str]:
    with listening(served) as address:
        yield address


def post(served: Served, content: Any, path: str = "/v1/chat/completions") -> Any:
    content = content if isinstance(content, bytes) else json.dumps(content).encode()
    return served.client.post(path, content=content, headers=JSON)


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/feedback"])
@pytest.mark.parametrize(
    "deep",
    [b"[" * 39_000, b"[" * 19_000 + b"]" * 19_000, b'{"a":' * 19_000 + b"1" + b"}" * 19_000],
    ids=["open", "lists", "objects"],
)
def test_deep_json_is_refused(served: Served, path: str, deep: bytes) -> None:
    error(post(served, deep, path), 400)
    inside = json.dumps(body())[:-1].encode() + b', "user": ' + deep + b"}"
    error(post(served, inside, path), 400)


def test_numbers_without_end_are_refused(served: Served) -> None:
    for number in (b"9" * 10_000, b"1e400", b"NaN", b"-Infinity"):
        error(post(served, json.dumps(body())[:-1].encode() + b', "temperature": ' + number + b"}"), 400)


def test_ten_thousand_parts_are_read_or_refused_at_once(served: Served) -> None:
    texts = [{"type": "text", "text": ""}] * 10_000
    assert post(served, body(texts)).status_code == 200
    assert len(served.engine.prepared[-1][0].messages[0].parts) == 10_000
    images = [{"type": "image_url", "image_url": {"url": "data:"}}] * 10_000
    assert error(post(served, body(images)), 400)["message"] == "a request may hold 16 images"


@pytest.mark.parametrize("of", [{"type": "text", "text": ""}, {"type": "x"}, {}, [], 1, ""])
def test_a_body_of_too_many_values_is_refused_before_it_is_parsed(
    served: Served, of: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("starlette.requests.Request.json", lambda _: pytest.fail("it was parsed"))
    detail = error(post(served, body([of] * 51_000)), 413)
    assert "a request may hold 50000 values; send fewer at once" in detail["message"]
    assert detail["type"] == "invalid_request_error"


def test_the_values_of_a_picture_are_its_one_comma(served: Served) -> None:
    """Base64 holds none of the marks that are counted."""
    url = "data:image/png;base64," + "A" * 3_000_000
    detail = error(post(served, body([{"type": "image_url", "image_url": {"url": url}}])), 400)
    assert "cannot be read as PNG" in detail["message"]


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/nothing", "/v1/alignments"])
def test_a_body_without_an_end_ends_with_the_connection(address: str, path: str) -> None:
    """Where the limit is met, and where nobody reads the body: a server that went on reading would never end."""
    sent = 0

    def pieces() -> Iterator[bytes]:
        nonlocal sent
        while sent < 100_000_000:
            sent += 2**16
            yield b" " * 2**16

    with httpx.Client(trust_env=False, timeout=20) as client:
        answer = client.post(f"{address}{path}", content=pieces(), headers=JSON)
    assert answer.headers["connection"] == "close"
    assert sent < 50_000_000, "it was read on"
    if path == "/v1/chat/completions":
        assert "a request may have 4000000 bytes" in error(answer, 413)["message"]


def test_a_slow_body_is_given_up_and_holds_nobody_up(served: Served, address: str) -> None:
    host, port = address.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as slow:
        slow.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000\r\n")
        slow.sendall(b"Content-Type: application/json\r\n\r\n")
        stop = threading.Event()

        def drip() -> None:
            while not stop.wait(0.05):  # each byte in time, the whole of them not
                try:
                    slow.sendall(b" ")
                except OSError:
                    return

        dripping = threading.Thread(target=drip)
        dripping.start()
        began = time.monotonic()
        with httpx.Client(trust_env=False, timeout=20) as client:
            assert client.post(f"{address}/v1/chat/completions", json=body()).status_code == 200
        answer = slow.recv(65536)
        stop.set()
        dripping.join()
    assert b" 408 " in answer.split(b"\r\n")[0]
    assert b"the body took longer than 0.5 s; send it again" in answer
    assert time.monotonic() - began < 10


def test_an_answer_may_take_longer_than_its_question(served: Served, address: str) -> None:
    """The limit in time is one of the body alone."""
    served.engine.hold()
    with (
        httpx.Client(trust_env=False, timeout=20) as client,
        client.stream("POST", f"{address}/v1/chat/completions", json=body(stream=True)) as answer,
    ):
        lines = answer.iter_lines()
        next(lines)
        time.sleep(0.7)
        served.engine.go_on()
        assert "data: [DONE]" in list(lines)
