"""A body that is written to a file as it comes; the file is there whole or not at all."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, closing, contextmanager
from pathlib import Path
from typing import BinaryIO

from openai import AsyncOpenAI, AsyncStream, OpenAI, Stream


class Pieces(Stream[bytes]):
    def __stream__(self) -> Iterator[bytes]:
        with closing(self.response):
            yield from self.response.iter_bytes()


class AsyncPieces(AsyncStream[bytes]):
    async def __stream__(self) -> AsyncIterator[bytes]:
        async with aclosing(self.response):
            async for piece in self.response.aiter_bytes():
                yield piece


def download(client: OpenAI, path: str, target: Path) -> Path:
    with client.get(path, cast_to=bytes, stream=True, stream_cls=Pieces) as pieces, _whole(target) as file:
        for piece in pieces:
            file.write(piece)
    return target


async def download_async(client: AsyncOpenAI, path: str, target: Path) -> Path:
    async with await client.get(path, cast_to=bytes, stream=True, stream_cls=AsyncPieces) as pieces:
        with _whole(target) as file:
            async for piece in pieces:
                file.write(piece)
    return target


@contextmanager
def _whole(target: Path) -> Iterator[BinaryIO]:
    partial = target.with_name(f".{target.name}.partial")
    try:
        with partial.open("wb") as file:
            yield file
        partial.replace(target)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
