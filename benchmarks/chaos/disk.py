"""A disk for the state alone: an ext4 image on a loop device, which can be filled and frozen. Needs root."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

SIZE = 1 << 30
FROZEN_S, THAWED_S = 0.3, 0.05


@contextmanager
def disk(folder: Path) -> Iterator[Path]:
    image, place = folder / "disk.img", folder / "disk"
    with image.open("wb") as file:
        file.truncate(SIZE)
    subprocess.run(["mkfs.ext4", "-q", str(image)], check=True)
    place.mkdir()
    subprocess.run(["mount", "-o", "loop", str(image), str(place)], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def full(place: Path, seconds: float) -> None:
    """Not a block is left; files that exist may be overwritten where they stand."""
    filler = place / "filler"
    try:
        with filler.open("wb", buffering=0) as file:
            for block in (1 << 20, 1 << 12):
                with suppress(OSError):
                    while True:
                        os.posix_fallocate(file.fileno(), file.seek(0, os.SEEK_END), block)
        time.sleep(seconds)
    finally:
        filler.unlink(missing_ok=True)


def slow(place: Path, seconds: float) -> None:
    """Each write waits for up to a third of a second, since the file system is frozen most of the time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        subprocess.run(["fsfreeze", "-f", str(place)], check=True)
        try:
            time.sleep(FROZEN_S)
        finally:
            subprocess.run(["fsfreeze", "-u", str(place)], check=True)
        time.sleep(THAWED_S)


def can_be_made() -> bool:
    return os.geteuid() == 0 and Path("/dev/loop-control").exists()
