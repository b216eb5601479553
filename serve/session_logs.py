"""The files that the processes under `errata up` write: where they are, told while it runs, and kept when it ends.

Ray has them in its session's folder, which goes with the session. Knows nothing of what a line says.
"""

from __future__ import annotations

import logging
import shutil
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

log = logging.getLogger(__name__)

CURRENT = "current"
NUM_RUNS = 5
MOST_BYTES = 64 * 2**20
"""Of one run."""
LOOK_S = 0.5


@contextmanager
def session_logs(session: Path, state: Path, echo: TextIO | None = None) -> Iterator[None]:
    """For the block, `logs/current` in `state` is the folder of the logs; afterwards they are in one of the run's own.

    `session` need not be there yet. `echo` gets each of our own lines as it comes.
    """
    current = state / "logs" / CURRENT
    try:
        current.parent.mkdir(exist_ok=True)
        _end(current)  # of a server that was killed
        current.symlink_to(session / "logs")
    except OSError as error:  # such as a disk that knows no links: a server without logs is better than none
        log.warning("the logs are not kept: %s", error)
    follower = None if echo is None else Follower(session / "logs", echo)
    try:
        yield
    finally:
        if follower is not None:
            follower.stop()
        _end(current)


class Follower:
    def __init__(self, logs: Path, echo: TextIO) -> None:
        self._logs, self._echo = logs, echo
        self._read: dict[str, int] = defaultdict(int)  # bytes of each file
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="log", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """What was written by now is told first, unless nobody takes it."""
        self._stop.set()
        self._thread.join(10 * LOOK_S)

    def _follow(self) -> None:
        is_last = False
        with suppress(BrokenPipeError):
            while not is_last:
                is_last = self._stop.wait(LOOK_S)
                for path in sorted(self._logs.glob("worker-*.out")):
                    self._tell(path)

    def _tell(self, path: Path) -> None:
        with path.open("rb") as file:
            file.seek(self._read[path.name])
            for line in file:
                if not line.endswith(b"\n"):  # the rest comes later
                    break
                self._read[path.name] += len(line)
                if line.startswith(b"{"):  # Ray marks there whose lines follow
                    self._echo.write(line.decode(errors="replace"))
        self._echo.flush()


def _end(current: Path) -> None:
    """Turn the link into a folder with the session's name, and let the oldest go."""
    logs = current.resolve()
    try:
        if logs.is_dir():
            _keep(logs, current.parent / logs.parent.name)
    except OSError as error:  # such as a full disk: why the server ends matters more
        log.warning("the logs of %s are not kept: %s", logs.parent.name, error)
    current.unlink(missing_ok=True)
    for old in sorted(current.parent.glob("session_*"))[:-NUM_RUNS]:
        shutil.rmtree(old, ignore_errors=True)


def _keep(logs: Path, kept: Path) -> None:
    """Each file, or the end of it: small ones whole, and for the large ones an even share of what room is left."""
    files = [path for path in logs.rglob("*") if path.is_file() and not path.is_symlink()]
    left = MOST_BYTES
    for num_before, path in enumerate(sorted(files, key=lambda path: path.stat().st_size)):
        share = min(path.stat().st_size, left // (len(files) - num_before))
        left -= share
        copy = kept / path.relative_to(logs)
        copy.parent.mkdir(parents=True, exist_ok=True)
        with path.open("rb") as file:
            file.seek(path.stat().st_size - share)
            copy.write_bytes(file.read(share))
