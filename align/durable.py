"""Files and folders that appear whole and outlive a crash: temporary name, fsync, rename. Knows nothing of contents."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def appears_whole(path: Path) -> Iterator[Path]:
    """A temporary neighbour of `path`, to be written as a file or a flat folder; it becomes `path` at the end.

    Where the block raises, nothing is left. A file takes the place of an older one; a folder does not.
    """
    _make_folder(path.parent)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        yield temporary
        for written in (*(temporary.iterdir() if temporary.is_dir() else ()), temporary):
            _sync(written)
        temporary.replace(path)
        _sync(path.parent)
    except BaseException:
        if temporary.is_dir():
            shutil.rmtree(temporary, ignore_errors=True)
        else:
            temporary.unlink(missing_ok=True)
        raise


def write_whole(path: Path, data: bytes) -> None:
    with appears_whole(path) as temporary:
        temporary.write_bytes(data)


def _make_folder(folder: Path) -> None:
    new = [parent for parent in (folder, *folder.parents) if not parent.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for made in new:
        _sync(made.parent)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
