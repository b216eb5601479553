"""A server to be killed, in a process of its own: the real API, store and blobs, around an engine without a model."""

from __future__ import annotations

import multiprocessing
import signal
import socket
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import uvicorn

from align.conversation import Conversation
from serve.api.app import build_app
from serve.engine.protocol import BASE, Delta, EngineSetup, EngineStats, Prompt, Sampling
from serve.errors import InvalidRequest
from serve.replica import Replica
from serve.settings import Settings

WORDS = ("There", " is", " a", " red", " cup", ".")
Serve = Callable[[Path, Connection], None]


@dataclass(frozen=True)
class Question:
    num_tokens: int = 1


class Parrot:
    """Says the same words to everyone, each at once, from a thread as engines do."""

    setup = EngineSetup("cpu", "float32", "none", 1, 64, 64, 0, 3, 8)
    max_model_len = 64

    def prepare(self, conversation: Conversation, images: Mapping[str, bytes]) -> Prompt:
        return Question()

    def submit(
        self, prompt: Prompt, sampling: Sampling, adapter: str, on_delta: Callable[[Delta], None]
    ) -> str:
        threading.Thread(target=_speak, args=(on_delta,)).start()
        return uuid.uuid4().hex

    def cancel(self, sequence_id: str) -> None:
        pass

    def load(self, version: str, folder: Path) -> None:
        raise InvalidRequest("this engine has no adapters")

    def unload(self, version: str) -> None:
        pass

    def stats(self) -> EngineStats:
        return EngineStats(0, 0, 64, 64, 0, 0, (BASE,))

    def check(self) -> None:
        pass

    def close(self) -> None:
        pass


def _speak(on_delta: Callable[[Delta], None]) -> None:
    for token_id, word in enumerate(WORDS):
        on_delta(Delta((token_id,), word))
    on_delta(Delta((), "", "stop"))


def serve(state: Path, ready: Connection) -> None:
    """Until the process is killed; sends its port when it listens."""
    listener = socket.create_server(("127.0.0.1", 0))
    replica = Replica(Settings(state=state), lambda _: Parrot())
    server = uvicorn.Server(uvicorn.Config(build_app(replica), log_level="error", lifespan="off"))
    ready.send(listener.getsockname()[1])
    server.run(sockets=[listener])


class Running:
    def __init__(self, process: multiprocessing.process.BaseProcess, address: str) -> None:
        self._process, self.address = process, address

    def kill(self) -> None:
        """With SIGKILL: nothing in the process can notice, let alone tidy up."""
        self._process.kill()
        self._process.join()
        assert self._process.exitcode == -signal.SIGKILL


@contextmanager
def running(state: Path, serve: Serve = serve) -> Iterator[Running]:
    """A server on this state, killed at the end of the block at the latest."""
    # forked from a process that has imported everything already: a start takes a fraction of a second
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    ours, theirs = context.Pipe()
    process = context.Process(target=serve, args=(state, theirs), daemon=True)
    process.start()
    theirs.close()
    server = Running(process, f"http://127.0.0.1:{ours.recv()}")
    try:
        yield server
    finally:
        if process.is_alive():
            server.kill()
        process.close()
        ours.close()
