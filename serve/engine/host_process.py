"""The process of `serve.engine.host`, which can begin before the replica has imported torch: both do at once."""

from __future__ import annotations

import os
import socket
import subprocess
import sys


class HostProcess:
    """Begun when this is made. It ends with the other end of its socket, `socket`."""

    def __init__(self) -> None:
        """In a session of its own: Ctrl+C is for the server, which then ends this process itself."""
        self.socket, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "serve.engine.host", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    def end(self, patience_s: float) -> None:
        try:
            self._process.wait(patience_s)
        except subprocess.TimeoutExpired:
            self.kill()
            self._process.wait()

    def kill(self) -> None:
        """Without waiting for its end, which one that hangs in a driver may owe for long."""
        self._process.kill()
