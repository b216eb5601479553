"""Pixels as a PNG file, by the standard library alone (PNG specification, sections 5, 9 and 11)."""

from __future__ import annotations

import struct
import zlib

SIGNATURE = b"\x89PNG\r\n\x1a\n"


def png(rgb: bytes, *, width: int, height: int) -> bytes:
    """`rgb` holds the rows from the top, three bytes a pixel."""
    rows = (rgb[start : start + 3 * width] for start in range(0, len(rgb), 3 * width))
    unfiltered = b"".join(b"\0" + row for row in rows)
    header = struct.pack(">2I5B", width, height, 8, 2, 0, 0, 0)  # 8 bits a channel, colour type 2: RGB
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(unfiltered)), (b"IEND", b""))
    return SIGNATURE + b"".join(_chunk(name, data) for name, data in chunks)


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
