"""Kills a server right after it has answered, or while it answers, and counts what is missing or there twice."""

from __future__ import annotations

import hashlib
import io
import json
import random
import threading
import time
from base64 import b64encode
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from PIL import Image

from align.errors import NotFound
from align.state import Blobs, Store

from .server import WORDS, Running, Serve, running, serve

LONGEST_PAUSE_S = 0.02
"""From sending a correction to a kill that does not wait for the answer: some are stored by then, some not."""


@dataclass
class Losses:
    kills: int = 0
    answers: int = 0  # told to the client to their end
    answers_lost: int = 0  # of these, or an image of theirs, not there after the kill
    corrections: int = 0  # answered with 2xx
    corrections_lost: int = 0
    cut_off: int = 0  # corrections whose sender was not answered
    cut_off_stored: int = 0  # of these, there after the kill
    repeats: int = 0  # corrections sent again, to the next server, under the same idempotency key
    doubled: int = 0  # of these, stored a second time, or answered with another record


@dataclass
class _Sent:
    """A correction on its way: what is sent again, and what it was answered with."""

    body: dict[str, Any]
    key: str
    id: str | None = None


@dataclass
class Killer:
    """Each round: start a server on what the last one left, repeat the last correction, write something, kill."""

    state: Path
    seed: int = 0
    serve: Serve = serve
    losses: Losses = field(default_factory=Losses)

    def run(self, num_kills: int, on_kill: Callable[[int], None] = lambda _: None) -> Losses:
        rng, last = random.Random(self.seed), None
        rounds = (self._kill_at_last_event, self._kill_at_created, self._kill_unanswered)
        for number in range(num_kills):
            with running(self.state, self.serve) as server, _client(server) as client:
                if last is not None:
                    self._repeat(client, last)
                last = rounds[number % len(rounds)](server, client, number, rng)
            self.losses.kills += 1
            on_kill(number + 1)
        if last is not None:
            with running(self.state, self.serve) as server, _client(server) as client:
                self._repeat(client, last)
        return self.losses

    def _kill_at_last_event(
        self, server: Running, client: httpx.Client, number: int, _rng: random.Random
    ) -> None:
        """The record has to be there when the stream tells that the answer is at its end."""
        image = _image(number)
        with client.stream("POST", "/v1/chat/completions", json=_question(image, stream=True)) as answer:
            for line in answer.iter_lines():
                if line.startswith("data: {") and _finish_reason(event := json.loads(line[6:])):
                    server.kill()
                    break
        self._look_for_answer(event["id"], image)

    def _kill_at_created(
        self, server: Running, client: httpx.Client, number: int, _rng: random.Random
    ) -> _Sent:
        sent = self._ask(client, number)
        sent.id = client.post("/v1/feedback", **_sending(sent)).raise_for_status().json()["id"]
        server.kill()
        self.losses.corrections += 1
        self.losses.corrections_lost += _stored(self.state, sent) != [sent.id]
        return sent

    def _kill_unanswered(
        self, server: Running, client: httpx.Client, number: int, rng: random.Random
    ) -> _Sent:
        sent = self._ask(client, number)

        def post() -> None:
            with suppress(httpx.TransportError):
                sent.id = client.post("/v1/feedback", **_sending(sent)).raise_for_status().json()["id"]

        posting = threading.Thread(target=post)
        posting.start()
        time.sleep(rng.uniform(0, LONGEST_PAUSE_S))
        server.kill()
        posting.join()
        stored = _stored(self.state, sent)
        if sent.id is None:
            self.losses.cut_off += 1
            self.losses.cut_off_stored += len(stored)
        else:
            self.losses.corrections += 1
            self.losses.corrections_lost += stored != [sent.id]
        return sent

    def _ask(self, client: httpx.Client, number: int) -> _Sent:
        image = _image(number)
        answer = client.post("/v1/chat/completions", json=_question(image)).raise_for_status().json()
        self._look_for_answer(answer["id"], image)
        corrected = "".join(WORDS).replace("red", f"blue number {number}")
        return _Sent({"response_id": answer["id"], "corrected_text": corrected}, f"key {number}")

    def _look_for_answer(self, response_id: str, image: bytes) -> None:
        self.losses.answers += 1
        store = Store(_url(self.state))
        try:
            is_whole = store.responses.get(response_id).text == "".join(WORDS)
            Blobs(str(self.state / "blobs"), self.state / "cache").get_image(
                hashlib.sha256(image).hexdigest()
            )
            self.losses.answers_lost += not is_whole
        except NotFound:
            self.losses.answers_lost += 1
        finally:
            store.close()

    def _repeat(self, client: httpx.Client, sent: _Sent) -> None:
        before = _stored(self.state, sent)
        again = client.post("/v1/feedback", **_sending(sent)).raise_for_status().json()["id"]
        self.losses.repeats += 1
        self.losses.doubled += _stored(self.state, sent) != [again] or (before or [again]) != [again]


def _client(server: Running) -> httpx.Client:
    return httpx.Client(base_url=server.address, trust_env=False, timeout=60)


def _image(number: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), (number % 256, number // 256 % 256, 0)).save(buffer, "PNG")
    return buffer.getvalue()


def _question(image: bytes, **more: Any) -> dict[str, Any]:
    url = f"data:image/png;base64,{b64encode(image).decode()}"
    parts = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": "What is there?"}]
    return {"model": "errata-scenes", "messages": [{"role": "user", "content": parts}], **more}


def _finish_reason(event: dict[str, Any]) -> str | None:
    return event["choices"][0]["finish_reason"] if event["choices"] else None


def _sending(sent: _Sent) -> dict[str, Any]:
    return {"json": sent.body, "headers": {"Idempotency-Key": sent.key}}


def _stored(state: Path, sent: _Sent) -> list[str]:
    """The ids of the corrections under this key, read by a process that opens the database anew."""
    store = Store(_url(state))
    try:
        return [one.id for one in store.corrections.page(10**6) if one.idempotency_key == sent.key]
    finally:
        store.close()


def _url(state: Path) -> str:
    return f"sqlite:///{state}/errata.db"
