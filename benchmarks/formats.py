"""Memory and speed of `errata import` and `errata export` by number of corrections: `--help` says how.

Imports a dataset like RLHF-V-Dataset and exports it in every format, each in a process of its own, for a tenth of the
corrections and for all of them. Memory is flat where both take the same.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import platform
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table

from align.formats.exporting import FORMATS, export_corrections
from align.formats.importing import Importer
from align.formats.preference import Failure
from align.formats.rlhf_v import RlhfVFile
from align.images import ImageLimits
from align.rendering import Renderer
from align.scenes import MODEL_PATH
from align.scenes.draw import png_bytes
from align.scenes.world import sample_scene
from align.state import Blobs, Store

NUM_PICTURES = 1000
ROWS_IN_GROUP = 100
"""As `datasets` writes files with pictures."""
SENTENCE = "There is a {} cup on the table, and beside it stand two books and a small green lamp. "


@dataclass(frozen=True)
class Figure:
    work: str
    num_corrections: int
    seconds: float
    corrections_per_s: float
    memory_growth_mib: float  # highest resident memory above that before the first row


def main() -> None:
    options = _parser().parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        figures = list(_figures(Path(name), options.corrections))
    Console().print(_table(figures))
    if options.json:
        report = {
            "figures": [asdict(figure) for figure in figures],
            "machine": f"{psutil.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}",
            "date": datetime.now(UTC).date().isoformat(),
        }
        options.json.write_text(json.dumps(report, indent=2) + "\n")


def _figures(folder: Path, num: int) -> Iterator[Figure]:
    for number in (num // 10, num):
        state = folder / str(number)
        state.mkdir()
        dataset = _dataset(state / "dataset.parquet", number)
        yield _in_process(_import, "import rlhf-v", number, state, dataset)
        for format in FORMATS:
            yield _in_process(_export, f"export {format}", number, state, format)


def _dataset(path: Path, number: int) -> Path:
    pictures = [png_bytes(sample_scene("training", "train", index)) for index in range(NUM_PICTURES)]
    with pq.ParquetWriter(path, pa.schema(_COLUMNS)) as writer:
        for start in range(0, number, ROWS_IN_GROUP):
            indices = range(start, min(start + ROWS_IN_GROUP, number))
            rows = [_row(index, pictures[index % NUM_PICTURES]) for index in indices]
            writer.write_table(pa.Table.from_pylist(rows, pa.schema(_COLUMNS)))
    return path


_COLUMNS = {
    "ds_name": pa.string(),
    "image": pa.struct([("bytes", pa.binary()), ("path", pa.string())]),
    "text": pa.string(),
    "idx": pa.int64(),
}


def _row(index: int, picture: bytes) -> dict[str, Any]:
    """Three sentences with one wrong word each, about as long as people's corrections are."""
    wrong, right = (
        f"Picture {index}. " + "".join(SENTENCE.format(word) for word in words)
        for words in (("red", "blue", "red"), ("blue", "red", "white"))
    )
    answers = {"question": "What is there?", "chosen": right, "rejected": wrong}
    image = {"bytes": picture, "path": None}
    return {"ds_name": "benchmark", "image": image, "text": json.dumps(answers), "idx": index}


def _import(state: Path, dataset: Path) -> Callable[[], int]:
    """Prepared here; what it returns is measured."""
    renderer = Renderer.from_pretrained(MODEL_PATH)
    importer = Importer(_store(state), _blobs(state), renderer, "errata-scenes")
    return lambda: importer.run(RlhfVFile(dataset, ImageLimits()), _fail).num_added


def _export(state: Path, format: str) -> Callable[[], int]:
    store, folder = _store(state), state / format
    return lambda: export_corrections(store, _blobs(state), FORMATS[format], folder, _fail).num_written


def _store(state: Path) -> Store:
    return Store(f"sqlite:///{state}/errata.db")


def _blobs(state: Path) -> Blobs:
    return Blobs(str(state / "blobs"), state / "cache")


def _fail(failure: Failure) -> None:
    raise RuntimeError(f"{failure.where}: {failure.reason}")


def _in_process(
    prepare: Callable[[Path, Any], Callable[[], int]], work: str, number: int, *arguments: Any
) -> Figure:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        seconds, growth = pool.apply(_measure, (prepare, number, *arguments))
    return Figure(work, number, round(seconds, 1), round(number / seconds, 1), round(growth / 2**20, 1))


def _measure(
    prepare: Callable[[Path, Any], Callable[[], int]], number: int, *arguments: Any
) -> tuple[float, int]:
    """(seconds, bytes)."""
    work = prepare(*arguments)
    with _highest_memory() as memory:
        started = time.monotonic()
        done = work()
        seconds = time.monotonic() - started
    assert done == number
    return seconds, memory[0]


@contextmanager
def _highest_memory(every_s: float = 0.01) -> Iterator[list[int]]:
    """Resident bytes of this process above those at the start, looked at all the time."""
    process, ended = psutil.Process(), threading.Event()
    start = process.memory_info().rss
    highest = [0]

    def watch() -> None:
        while not ended.wait(every_s):
            highest[0] = max(highest[0], process.memory_info().rss - start)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield highest
    finally:
        ended.set()
        thread.join()


def _table(figures: list[Figure]) -> Table:
    table = Table("", "corrections", "seconds", "per second", "memory above start, MiB")
    for figure in figures:
        table.add_row(
            figure.work,
            f"{figure.num_corrections:,}",
            f"{figure.seconds:,}",
            f"{figure.corrections_per_s:,}",
            f"{figure.memory_growth_mib:,}",
        )
    return table


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.formats", description=__doc__)
    parser.add_argument("--corrections", type=int, default=100_000, help="the larger number")
    parser.add_argument("--folder", type=Path, help="for the files in between: 20 kB a correction")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    return parser


if __name__ == "__main__":
    main()
