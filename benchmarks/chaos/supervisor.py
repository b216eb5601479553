"""Starts the server, and starts it again whenever its process ended, as a service manager does."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from serve.demo.server import server
from serve.settings import Settings


class Supervisor:
    """`pid` is that of the newest process, which may have ended just now."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._process: subprocess.Popen[bytes] | None = None
        self._has_started = threading.Event()
        self._is_stopped = False
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._keep_running, name="supervisor")

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Returns when it answers. Raises `SettingsError` where it does not start."""
        self._thread.start()
        self._has_started.wait()
        if self._failure is not None:
            raise self._failure

    def stop(self) -> None:
        self._is_stopped = True
        if self._process is not None:
            self._process.terminate()
        self._thread.join()

    def _keep_running(self) -> None:
        try:
            while not self._is_stopped:
                with server(self._settings) as self._process:
                    self._has_started.set()
                    if not self._is_stopped:  # while it started
                        self._process.wait()
        except Exception as error:  # told to who waits for the start; later, the service does not come back
            self._failure = error
        finally:
            self._has_started.set()


@contextmanager
def supervised(settings: Settings) -> Iterator[Supervisor]:
    supervisor = Supervisor(settings)
    try:
        supervisor.start()
        yield supervisor
    finally:
        supervisor.stop()
