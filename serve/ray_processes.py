"""Ray's processes under `errata up`: whether those that all others need still run, and the end of all where not.

Knows nothing of what they do.
"""

from __future__ import annotations

import signal
import threading
from contextlib import suppress

import psutil

from .errors import RayEnded

HEAD = ("gcs_server", "raylet")
"""Ray starts neither again, and waits for them for a minute, or for ever."""
LOOK_S = 1.0


class RayProcesses:
    """Of this process, which has started Ray just now.

    Looked at again and again, for whom a raylet that died leaves behind no later look would find. Where one of the
    head's has ended, this process gets a SIGTERM.
    """

    def __init__(self) -> None:
        self._seen = set(psutil.Process().children(recursive=True))
        self._head = [(name, one) for one in self._seen if (name := _name(one)) in HEAD]
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="ray-processes", daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Raises `RayEnded`; nothing of Ray runs any more then."""
        if (ended := self._ended()) is None:
            return
        for process in self._seen:  # whoever asks them to end waits for an answer that does not come
            with suppress(psutil.NoSuchProcess):
                process.kill()
        raise RayEnded(
            f"Ray's {ended} has ended, killed perhaps for want of memory, and without it nothing here can go on. Start "
            "the server again: all that it acknowledged is on disk"
        )

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        main = threading.main_thread().ident
        assert main is not None
        while not self._stop.wait(LOOK_S):
            if self._ended() is not None:
                signal.pthread_kill(main, signal.SIGTERM)
                return
            self._seen = {one for one in self._seen if one.is_running()}
            self._seen.update(psutil.Process().children(recursive=True))

    def _ended(self) -> str | None:
        return next((name for name, process in self._head if not _runs(process)), None)


def _name(process: psutil.Process) -> str:
    try:
        return str(process.name())
    except psutil.NoSuchProcess:  # Ray begins some that end in a moment
        return ""


def _runs(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
