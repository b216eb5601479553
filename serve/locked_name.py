"""By which name a process holds its lease: that of the one before it on this machine, if that one has died.

The name stands in a file, and belongs to whoever has locked that. The kernel ends a lock with its process, however that
ends, so what a dead one held is at once its successor's own. Knows nothing of leases.
"""

from __future__ import annotations

import fcntl
import os
import uuid
from contextlib import suppress
from pathlib import Path

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class LockedName:
    def __init__(self, path: Path) -> None:
        """A new name where another process has locked the file, or where nothing can be locked there."""
        self.name = uuid.uuid4().hex
        self._file: int | None = None
        with suppress(OSError):  # then whoever comes next waits until the lease expires
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._read_or_write(self._file)

    def close(self) -> None:
        """For the next one; so does the kernel where the process dies."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _read_or_write(self, file: int) -> None:
        place = _place(file)
        written, _, name = os.read(file, 1000).decode().rpartition(" ")
        if name and written == place:
            self.name = name
            return
        os.ftruncate(file, 0)
        os.pwrite(file, f"{place} {self.name}".encode(), 0)


def _place(file: int) -> str:
    """Where the lock says who lives: this file and no copy of it, under this kernel and not on another node's mount."""
    status = os.fstat(file)
    return f"{BOOT_ID.read_text().strip()} {status.st_dev} {status.st_ino}"
