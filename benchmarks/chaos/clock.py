"""The wall clock as this process and all that it starts see it, which can be stepped: `clock.c` stands before libc's.

It is stepped for the server, its database and those who look at them, as on one machine. Monotonic clocks go on, and
the machine's own clock is not touched; it is still the one that dates files.
"""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

OFFSET = "ERRATA_CHAOS_CLOCK"
SOURCE = Path(__file__).with_name("clock.c")
INTEGER = struct.Struct("=q")


def can_be_held() -> bool:
    return sys.platform == "linux" and shutil.which("cc") is not None


def is_held() -> bool:
    return OFFSET in os.environ


def hold(module: str) -> None:
    """Begin this program anew, with the same arguments, behind a clock that can be stepped; nothing where it is."""
    if is_held() or not can_be_held():
        return
    os.execve(sys.executable, [sys.executable, "-m", module, *sys.argv[1:]], {**os.environ, **environment()})


def environment() -> dict[str, str]:
    """Of processes behind a clock of their own, which stands where the machine's does until it is set."""
    folder = Path(tempfile.mkdtemp(prefix="errata-clock-"))
    folder.chmod(0o755)  # PostgreSQL reads it as another user
    library, offset = folder / "clock.so", folder / "offset"
    compiling = ["cc", "-O2", "-shared", "-fPIC", "-o", str(library), str(SOURCE), "-ldl"]
    subprocess.run(compiling, check=True)
    offset.write_bytes(INTEGER.pack(0))
    return {"LD_PRELOAD": str(library), OFFSET: str(offset)}


@contextmanager
def let_go() -> Iterator[None]:
    """At the end of the block the library is gone."""
    try:
        yield
    finally:
        if is_held():
            shutil.rmtree(_file().parent)


def offset_s() -> float:
    """How far it is from the machine's own."""
    (nanoseconds,) = INTEGER.unpack(_file().read_bytes())
    return float(nanoseconds / 1e9)


def set_to(offset_s: float) -> None:
    """From this moment on, for all of them: the eight bytes are written at once."""
    with _file().open("r+b", buffering=0) as file:
        file.write(INTEGER.pack(round(offset_s * 1e9)))


def _file() -> Path:
    return Path(os.environ[OFFSET])
