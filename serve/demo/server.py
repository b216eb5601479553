"""The server of the demo and of the drill: `errata up` in a process of its own, with a state folder of its own."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from serve.errors import SettingsError
from serve.settings import Settings

START_S = 240.0
STOP_S = 60.0


@contextmanager
def server(settings: Settings, *, leave: bool = False) -> Iterator[subprocess.Popen[bytes]]:
    """A server that answers, as its process. Raises `SettingsError`, with its log, where it does not start.

    It ends with the block, unless `leave` is set and the block ended well; its process is then waited for, so
    that Ctrl+C ends both.
    """
    log = settings.state / "server.log"
    config = settings.state / "settings.json"
    config.write_text(settings.model_dump_json())
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "serve", "up", "--config", str(config)],
            cwd=settings.state,  # where no serve.py of the user's can shadow this package
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, "OMP_WAIT_POLICY": "PASSIVE"},
        )
    try:
        _wait_until_ready(process, f"http://{settings.host}:{settings.port}", log)
        yield process
        if leave:
            process.wait()
    finally:
        _stop(process)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_until_ready(process: subprocess.Popen[bytes], address: str, log: Path) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise SettingsError(f"the server did not start:\n{_tail(log)}")
        try:
            if httpx.get(f"{address}/readyz", timeout=2.0, trust_env=False).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.5)
    raise SettingsError(f"the server was not ready within {START_S:g} s:\n{_tail(log)}")


def _tail(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-20:])


def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is not None:
        return
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
