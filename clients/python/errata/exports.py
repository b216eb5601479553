"""The corrections that are learned from, as other programs read them: a file, pairs one by one, a dataset."""

from __future__ import annotations

import tarfile
import tempfile
from collections.abc import AsyncGenerator, Generator
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

from openai import AsyncOpenAI, OpenAI

from .downloads import AsyncPieces, Pieces, download, download_async
from .tar_lines import TarLines
from .types import ExportedRow, Pair

if TYPE_CHECKING:
    from datasets import Dataset

Format: TypeAlias = Literal["trl", "openai", "ms-swift", "llama-factory"]
LINES = "/errata.jsonl"


def path(format: Format) -> str:
    return f"/feedback/export?format={format}"


def pairs(client: OpenAI) -> Generator[Pair, None, None]:
    lines = TarLines(LINES)
    with client.get(path("openai"), cast_to=bytes, stream=True, stream_cls=Pieces) as pieces:
        for piece in pieces:
            for line in lines.feed(piece):
                yield ExportedRow.model_validate_json(line).pair


async def pairs_async(client: AsyncOpenAI) -> AsyncGenerator[Pair, None]:
    lines = TarLines(LINES)
    async with await client.get(path("openai"), cast_to=bytes, stream=True, stream_cls=AsyncPieces) as pieces:
        async for piece in pieces:
            for line in lines.feed(piece):
                yield ExportedRow.model_validate_json(line).pair


def dataset(client: OpenAI) -> Dataset:
    check_datasets()
    with tempfile.TemporaryDirectory() as folder:
        return _read(download(client, path("trl"), Path(folder, "trl.tar")))


async def dataset_async(client: AsyncOpenAI) -> Dataset:
    check_datasets()
    with tempfile.TemporaryDirectory() as folder:
        return _read(await download_async(client, path("trl"), Path(folder, "trl.tar")))


def check_datasets() -> None:
    """Before anything is downloaded. Raises `ImportError`."""
    try:
        import datasets  # noqa: F401
    except ImportError as error:
        raise ImportError(
            "to_datasets needs Hugging Face's library: pip install datasets; rows() needs nothing"
        ) from error


def _read(file: Path) -> Dataset:
    """All of it in memory: nothing is left in a cache."""
    import pyarrow.parquet
    from datasets import Dataset

    with tarfile.open(file) as tar:
        parquet = tar.extractfile("errata-trl/train.parquet")
        assert parquet is not None, "a server's export has one parquet file"
        with parquet:
            return Dataset(pyarrow.parquet.read_table(parquet))
