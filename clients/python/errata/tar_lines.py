"""The lines of the JSONL files in a tar, as its bytes come in, wherever they are split. Opens no file."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator

BLOCK = tarfile.BLOCKSIZE


class TarLines:
    def __init__(self, name: str) -> None:
        """Of the members whose path ends with `name`."""
        self._name = name
        self._buffer = bytearray()
        self._is_wanted = False
        self._num_left = 0  # bytes of this member that are to come
        self._num_padding = 0  # and those that fill its last block
        self._line = bytearray()

    def feed(self, piece: bytes) -> Iterator[bytes]:
        """The lines that are whole now, without their ends."""
        self._buffer += piece
        while self._num_left or self._num_padding or len(self._buffer) >= BLOCK:
            if self._num_left:
                data = self._take(self._num_left)
                self._num_left -= len(data)
                if self._is_wanted:
                    yield from self._lines(data)
                if self._num_left:
                    return
            elif self._num_padding:
                self._num_padding -= len(self._take(self._num_padding))
                if self._num_padding:
                    return
            else:
                self._begin(self._take(BLOCK))

    def _take(self, number: int) -> bytes:
        data = bytes(self._buffer[:number])
        del self._buffer[:number]
        return data

    def _begin(self, header: bytes) -> None:
        """The next member; a block of zeros, as two of them end a tar, is none."""
        if not any(header):
            return
        member = tarfile.TarInfo.frombuf(header, "utf-8", "strict")
        self._is_wanted = member.isfile() and member.name.endswith(self._name)
        self._num_left, self._num_padding = member.size, -member.size % BLOCK

    def _lines(self, data: bytes) -> Iterator[bytes]:
        *whole, rest = data.split(b"\n")
        for line in whole:
            yield bytes(self._line) + line
            self._line.clear()
        self._line += rest
