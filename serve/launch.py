"""`errata up`: everything on one machine, from settings to a server that answers, and down again."""

from __future__ import annotations

import fcntl
import io
import logging
import os
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from pathlib import Path
from typing import TextIO

import httpx

from align.state import Blobs, Store

from .engine.protocol import EngineSetup
from .errors import SettingsError
from .ray_processes import RayProcesses
from .session_logs import session_logs
from .settings import Settings, check_traces

ENVIRONMENT = {
    # OpenMP threads that spin while they wait starve the other processes of a small machine.
    "OMP_WAIT_POLICY": "PASSIVE",
    # glibc's malloc has eight arenas a core, and threads by the dozen fill each to its own high-water mark, for hours.
    "MALLOC_ARENA_MAX": "2",
    "RAY_USAGE_STATS_ENABLED": "0",  # no one asked to be counted
    # By default Ray runs all its workers at low priority; here only training is to yield, and it says so itself.
    "RAY_worker_niceness": "0",
    "RAY_TRAIN_V2_ENABLED": "1",
    # A dead proxy counts as dead after three looks, and by default there are ten seconds between two.
    "RAY_SERVE_PROXY_HEALTH_CHECK_PERIOD_S": "1",
    "RAY_SERVE_CONTROLLER_CALLBACK_IMPORT_PATH": "serve.controller.keep_time",
    "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": "serve.proxy.middleware",
}
"""What Ray's processes are started with, as far as their user has not set it; `deploy/Dockerfile` sets the same."""


def check(settings: Settings) -> None:
    """What would otherwise fail late and unclearly. Raises `SettingsError`, or `StateError` from the store."""
    try:
        settings.state.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsError(f"cannot use {settings.state} for the state: {error.strerror}") from error
    store = Store(settings.database_url)
    has_keys = bool(store.keys.active())
    store.close()
    Blobs(settings.blobs_url, cache=settings.state / "cache").check()
    if not settings.is_loopback and not has_keys:
        raise SettingsError(
            f"{settings.host} can be reached from other machines and there is no key: make one with "
            f"`errata keys create --state {settings.state}`, or serve on 127.0.0.1"
        )
    check_port(settings.host, settings.port)
    check_traces(settings)
    from .engine.loading import check_model  # torch, for the one of several commands that needs it

    check_model(settings.model)


def check_port(host: str, port: int) -> None:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise SettingsError(
                f"cannot listen on {host}:{port}: {error.strerror}; choose another --port"
            ) from error


@contextmanager
def alone(state: Path) -> Iterator[None]:
    """One server for one state folder: their aligners would train in the same folders.

    Raises `SettingsError`. The lock ends with the process, however that ends.
    """
    with (state / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise SettingsError(f"another server uses {state}; stop it, or choose another --state") from error
        yield


@contextmanager
def running(settings: Settings, echo: TextIO | None = None) -> Iterator[None]:
    """The server, up for the length of the block. Raises what `check` raises, before anything is started.

    Where Ray itself ends, the block gets a SIGTERM, and `RayEnded` is raised at its end. `echo` gets the log's lines.
    """
    check(settings)
    for name, value in ENVIRONMENT.items():  # before Ray starts, so that its processes inherit them
        os.environ.setdefault(name, value)
    import ray

    from . import deployments

    logging.getLogger("ray.serve").setLevel(logging.WARNING)

    # A folder of its own as every worker's cwd: a serve.py beside the user would shadow this package.
    with (
        alone(settings.state),
        tempfile.TemporaryDirectory(prefix="errata-cwd-") as empty,
        # Ray puts sockets there, and a socket's path may have about 100 characters: no long TMPDIR.
        tempfile.TemporaryDirectory(prefix="er-", dir="/tmp", ignore_cleanup_errors=True) as temp,
        session_logs(Path(temp) / "session_latest", settings.state, echo),
    ):
        ray.init(
            address="local",
            num_cpus=max(os.cpu_count() or 1, settings.num_replicas + 4),
            include_dashboard=False,
            log_to_driver=False,
            logging_level="ERROR",
            namespace="errata",
            object_store_memory=256 * 2**20,
            runtime_env={"working_dir": empty},
            _temp_dir=temp,
        )
        processes = RayProcesses()
        try:
            end_by_exception_on_sigterm()
            deployments.deploy(settings)
            yield
        finally:
            processes.stop()
            processes.check()
            # Ray tells on standard output that the controller, which it has just ended, did not end by itself
            with redirect_stdout(io.StringIO()):
                deployments.shut_down()
                ray.shutdown()


def engine_setup(settings: Settings) -> EngineSetup:
    """How the engines of a running server run, by what one of them says; asked until one is ready to."""
    host = "127.0.0.1" if settings.host in ("0.0.0.0", "::") else settings.host
    url = f"http://{f'[{host}]' if ':' in host else host}:{settings.port}/readyz"
    while True:  # a replica that has died since the start is replaced
        with suppress(httpx.TransportError, ValueError):
            answer = httpx.get(url, timeout=10.0, trust_env=False).json()
            if "engine" in answer:
                return EngineSetup(**answer["engine"])
        time.sleep(0.5)


def wait_for_signal() -> None:
    """Until SIGINT or SIGTERM."""
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    stop.wait()


def end_by_exception_on_sigterm() -> None:
    """SIGTERM unwinds like Ctrl+C, so that no process that was started stays behind.

    To be called after `ray.init` where there is one: its own handler would end this process at once.
    """

    def end(*_: object) -> None:
        raise SystemExit(128 + signal.SIGTERM)

    signal.signal(signal.SIGTERM, end)


def absolute(settings: Settings) -> Settings:
    """The same settings for processes with another working folder."""
    is_folder = Path(settings.model).exists()
    model = str(Path(settings.model).resolve()) if is_folder else settings.model
    return settings.model_copy(update={"state": settings.state.resolve(), "model": model})
