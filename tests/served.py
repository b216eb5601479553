"""A replica with a fake engine behind its HTTP application, as tests ask it."""

from __future__ import annotations

import base64
import io
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import uvicorn
from fake_engine import FakeEngine
from PIL import Image
from records import adapter_row
from starlette.testclient import TestClient

from align.adapter_files import adapter_digest
from serve.api.app import build_app
from serve.replica import Replica
from serve.rollout_settings import RolloutSettings
from serve.settings import Settings

MODEL = "errata-scenes"
FAST = RolloutSettings(poll_s=0.02, dead_after_s=5.0, prepare_s=30.0, commit_ahead_s=0.2)
SLOW = RolloutSettings(poll_s=30.0, dead_after_s=120.0, prepare_s=30.0, commit_ahead_s=120.0)


class Served:
    """One replica and a client of it."""

    def __init__(self, replica: Replica, engine: FakeEngine, client: TestClient) -> None:
        self.replica, self.engine, self.client = replica, engine, client
        self.store = replica.store

    def chat(self, content: Any = "What is on the table?", **changes: Any) -> Any:
        headers = changes.pop("headers", None)
        return self.client.post("/v1/chat/completions", json=body(content, **changes), headers=headers)

    def respond(self, content: Any = "What is on the table?", **changes: Any) -> str:
        """The id of an answer."""
        response = self.chat(content, **changes)
        assert response.status_code == 200, response.text
        return str(response.json()["id"])


@contextmanager
def serving(state: Path, engine: FakeEngine | None = None, **changes: Any) -> Iterator[Served]:
    engine = engine or FakeEngine()
    settings = Settings(**{"state": state, "rollout": FAST, **changes})
    replica = Replica(settings, lambda _: engine)
    try:
        # an unexpected error is what the client sees, not what the test sees
        with TestClient(
            build_app(replica), base_url="http://127.0.0.1:8000", raise_server_exceptions=False
        ) as client:
            yield Served(replica, engine, client)
    finally:
        engine.go_on()
        replica.close()


@contextmanager
def listening(served: Served) -> Iterator[str]:
    """The application on a loopback port; the transport of `TestClient` hides whether chunks come one by one."""
    with on_a_port(served.replica) as address:
        try:
            yield address
        finally:
            served.engine.go_on()


@contextmanager
def on_a_port(replica: Replica) -> Iterator[str]:
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(build_app(replica), log_level="error", lifespan="off"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


def publish(served: Served, tmp_path: Path) -> Served:
    """Three admitted versions with their files."""
    for number in (1, 2, 3):
        folder = tmp_path / f"adapter-{number}"
        folder.mkdir()
        (folder / "adapter_config.json").write_text(f'{{"r": {number}}}')
        (folder / "adapter_model.safetensors").write_bytes(bytes([number]))
        digest = adapter_digest(folder)
        served.replica.blobs.put_folder(folder, f"adapters/{digest}")
        adapter_row(served.store, digest=digest, blob=f"adapters/{digest}", report={"number": number})
    return served


def promote(served: Served, version: str, **body: float) -> None:
    answer = served.client.post(f"/v1/adapters/{version}/promote", json=body)
    assert answer.status_code == 202, answer.text
    assert answer.json()["phase"] == "preparing"
    settle(served)


def settle(served: Served) -> None:
    def is_settled() -> bool:
        adapters = served.client.get("/v1/adapters").json()
        return adapters["rollout"] == adapters["in_force"] or adapters["rollout"]["phase"] == "abandoned"

    wait_until(is_settled)


def body(content: Any = "What is on the table?", **changes: Any) -> dict[str, Any]:
    return {"model": MODEL, "messages": [{"role": "user", "content": content}], **changes}


def events(text: str) -> list[Any]:
    """The data of a stream of server-sent events: one `data:` line each, an empty line after it."""
    assert text.endswith("\n\n")
    blocks = text[:-2].split("\n\n")
    assert all(block.startswith("data: ") and "\n" not in block for block in blocks), text
    return [block[6:] if block == "data: [DONE]" else json.loads(block[6:]) for block in blocks]


def error(response: Any, status: int) -> dict[str, Any]:
    """OpenAI's error of a response, its shape checked."""
    assert response.status_code == status, response.text
    assert set(response.json()) == {"error"}
    detail: dict[str, Any] = response.json()["error"]
    assert set(detail) == {"message", "type", "param", "code"}
    assert detail["message"]
    return detail


def encoded(image_format: str = "PNG", size: tuple[int, int] = (8, 6), **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, (200, 30, 30)).save(buffer, image_format, **options)
    return buffer.getvalue()


def data_url(data: bytes, media_type: str = "image/png") -> str:
    return f"data:{media_type};base64,{base64.b64encode(data).decode()}"


def image_part(url: str) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url}}


def wait_until(condition: Callable[[], object], timeout_s: float = 20.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        threading.Event().wait(0.005)
