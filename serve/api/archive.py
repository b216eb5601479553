"""A folder of files as a tar that is made while it is sent: a piece at a time is in memory."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from pathlib import Path

PIECE_BYTES = 1 << 20


def tar_pieces(folder: Path, name: str) -> Iterator[bytes]:
    """The files of `folder`, in order, under the one folder `name`."""
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        member = tarfile.TarInfo(f"{name}/{path.relative_to(folder).as_posix()}")
        member.size, member.mtime = path.stat().st_size, int(path.stat().st_mtime)
        yield member.tobuf(tarfile.PAX_FORMAT)
        with path.open("rb") as file:
            while piece := file.read(PIECE_BYTES):
                yield piece
        yield bytes(-member.size % tarfile.BLOCKSIZE)
    yield bytes(2 * tarfile.BLOCKSIZE)  # the end
