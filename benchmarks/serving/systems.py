"""What is compared: each is started, asked through the same clients, and ended. One at a time."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import httpx
import psutil

from align.conversation import Conversation, Image, Message, Text
from align.images import encode_data_url
from serve.demo.server import free_port, server
from serve.engine.config import EngineConfig
from serve.engine.protocol import BASE, Delta, Sampling
from serve.settings import Settings

from .load import Ask, Question, Stream

START_S = 240.0
MODEL_LEN = 512


@dataclass(frozen=True)
class Running:
    ask: Ask
    cpu_seconds: Callable[[], float]  # of all its processes since their start


System = Callable[[Path, int], AbstractAsyncContextManager[Running]]
"""From a model's folder and the tokens of an answer."""


@asynccontextmanager
async def errata(model: Path, num_tokens: int) -> AsyncIterator[Running]:
    """`errata up` with one replica, as it comes but for the lengths."""
    with tempfile.TemporaryDirectory() as state:
        settings = Settings(
            model=str(model),
            model_name=str(model),
            state=Path(state),
            port=free_port(),
            engine=EngineConfig(max_model_len=MODEL_LEN),
        )
        with server(settings) as process:
            async with _http(process.pid, settings.port, str(model), num_tokens) as running:
                yield running


@asynccontextmanager
async def transformers_serve(model: Path, num_tokens: int) -> AsyncIterator[Running]:
    port = free_port()
    command = [Path(sys.executable).with_name("transformers"), "serve", model, "--port", port]
    with _process([*map(str, command), "--host", "127.0.0.1"], port) as pid:
        async with _http(pid, port, str(model), num_tokens) as running:
            yield running


@asynccontextmanager
async def plain(model: Path, num_tokens: int) -> AsyncIterator[Running]:
    port = free_port()
    command = [sys.executable, "-m", "benchmarks.serving.plain_server", str(model), "--port", str(port)]
    with _process(command, port) as pid:
        async with _http(pid, port, str(model), num_tokens) as running:
            yield running


@asynccontextmanager
async def engine(model: Path, num_tokens: int) -> AsyncIterator[Running]:
    """Errata's engine in this process: no HTTP, no records."""
    from serve.engine.engine import TransformersEngine

    running = TransformersEngine.from_pretrained(model, EngineConfig(max_model_len=MODEL_LEN))
    sampling = Sampling(max_tokens=num_tokens, temperature=0.0)

    async def ask(question: Question) -> Stream:
        stream, deltas = Stream(), asyncio.Queue[Delta]()
        loop = asyncio.get_running_loop()
        sha256 = hashlib.sha256(question.image).hexdigest()  # what features are kept by
        conversation = Conversation((Message("user", (Image(sha256), Text(question.text))),))
        prompt = await asyncio.to_thread(running.prepare, conversation, {sha256: question.image})
        running.submit(
            prompt, sampling, BASE, lambda delta: loop.call_soon_threadsafe(deltas.put_nowait, delta)
        )
        finish_reason = None
        while finish_reason is None:
            delta = await deltas.get()
            finish_reason = delta.finish_reason
            stream.num_tokens += len(delta.token_ids)
            if delta.text:
                stream.arrived(delta.text)
        return stream

    process = psutil.Process()
    try:
        yield Running(ask, lambda: sum(process.cpu_times()[:2]))
    finally:
        running.close()


SYSTEMS: dict[str, System] = {
    "errata": errata,
    "errata, engine alone": engine,
    "transformers serve": transformers_serve,
    "FastAPI + generate": plain,
}


@asynccontextmanager
async def _http(pid: int, port: int, model: str, num_tokens: int) -> AsyncIterator[Running]:
    timeout = aiohttp.ClientTimeout(total=None, sock_read=900)
    url = f"http://127.0.0.1:{port}/v1/chat/completions"
    async with aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(limit=0)) as session:

        async def ask(question: Question) -> Stream:
            stream = Stream()
            async with session.post(url, json=_body(question, model, num_tokens)) as answer:
                if answer.status != 200:
                    raise RuntimeError(f"status {answer.status}: {(await answer.text())[:500]}")
                async for line in answer.content:
                    if line.startswith(b"data: {"):
                        _take(stream, json.loads(line[6:]))
            return stream

        yield Running(ask, lambda: _cpu_seconds(pid))


def _body(question: Question, model: str, num_tokens: int) -> dict[str, Any]:
    image = {"type": "image_url", "image_url": {"url": encode_data_url(question.image)}}
    return {
        "model": model,
        "messages": [{"role": "user", "content": [image, {"type": "text", "text": question.text}]}],
        "temperature": 0.0,
        "max_tokens": num_tokens,
        "stream": True,
        "stream_options": {"include_usage": True},
    }


def _take(stream: Stream, event: dict[str, Any]) -> None:
    for choice in event.get("choices", []):
        if text := choice["delta"].get("content"):
            stream.arrived(text)
    if usage := event.get("usage"):
        stream.num_tokens = usage["completion_tokens"]


@contextmanager
def _process(command: list[str], port: int) -> Iterator[int]:
    with tempfile.NamedTemporaryFile() as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, "HF_HUB_OFFLINE": "1"})
        try:
            deadline = time.monotonic() + START_S
            while not _answers(port):
                if process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"{command[0]} did not start: {Path(log.name).read_text()[-2000:]}")
                time.sleep(0.5)
            yield process.pid
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _answers(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/health", timeout=2.0, trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


def _cpu_seconds(pid: int) -> float:
    root = psutil.Process(pid)
    total = 0.0
    for process in (root, *root.children(recursive=True)):
        try:
            total += sum(process.cpu_times()[:2])
        except psutil.NoSuchProcess:  # it has just ended
            continue
    return total
