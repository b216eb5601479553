"""Records a second through the store, each in a transaction of its own and as the store writes them, in turn."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from align.state import Correction, Response, Store
from align.state.corrections import insert_correction
from align.state.responses import insert_responses

from .server import WORDS

NUM_SYNCS = 200


@dataclass(frozen=True)
class Throughput:
    record: str
    alone_per_s: float  # one transaction a record
    together_per_s: float  # as `Store` writes
    ratio: float


def syncs_per_s(folder: Path) -> float:
    """What the disk can do: 4 KiB appended to a file and forced down, one after another."""
    with (folder / "syncs").open("wb", buffering=0) as file:
        started = time.monotonic()
        for _ in range(NUM_SYNCS):
            file.write(bytes(4096))
            os.fsync(file.fileno())
        return NUM_SYNCS / (time.monotonic() - started)


def throughput(url: str, num_records: int, num_threads: int, num_repeats: int) -> list[Throughput]:
    """Medians. `num_records` for each way of writing each kind of record, in each repeat."""
    store = Store(url)
    measured: dict[tuple[str, bool], list[float]] = {}

    def measure(kind: str, is_alone: bool, write: Callable[[Any], object], records: Iterable[Any]) -> None:
        records = list(records)
        with ThreadPoolExecutor(num_threads) as pool:
            started = time.monotonic()
            list(pool.map(write, records))
            measured.setdefault((kind, is_alone), []).append(len(records) / (time.monotonic() - started))

    def response_alone(response: Response) -> None:
        with store.database.write() as connection:
            insert_responses(connection, [response])

    def correction_alone(correction: Correction) -> None:
        with store.database.write() as connection:
            insert_correction(connection, correction, None)

    with closing(store):
        for repeat in range(num_repeats):
            for is_alone in (True, False):
                names = [f"{repeat}-{is_alone}-{number}" for number in range(num_records)]
                add_response = response_alone if is_alone else store.responses.add
                measure("answers", is_alone, add_response, map(_response, names))
                add_correction = correction_alone if is_alone else store.corrections.add
                measure("corrections", is_alone, add_correction, map(_correction, names))
    return [_figure(kind, measured[kind, True], measured[kind, False]) for kind in ("answers", "corrections")]


def _figure(kind: str, alone: list[float], together: list[float]) -> Throughput:
    one, other = statistics.median(alone), statistics.median(together)
    return Throughput(kind, round(one), round(other), round(other / one, 1))


def _response(name: str) -> Response:
    content = [{"type": "image", "sha256": "a" * 64}, {"type": "text", "text": "What is there?"}]
    return Response(
        id=f"chatcmpl-{name}",
        created=time.time(),
        model="errata-scenes",
        adapter="base",
        conversation=[{"role": "user", "content": content}],
        sampling={"max_tokens": 64, "temperature": 1.0, "top_p": 1.0, "seed": None, "stop": []},
        text="".join(WORDS) * 8,
        token_ids=list(range(48)),
        finish_reason="stop",
        num_prompt_tokens=64,
        timings={"first_token_s": 0.1, "total_s": 1.0},
        key_id="key-1",
    )


def _correction(name: str) -> Correction:
    return Correction(
        id=f"corr-{name}",
        created=time.time(),
        status="accepted",
        response_id=f"chatcmpl-{name}",
        corrected_text=("".join(WORDS) * 8).replace("red", "blue", 1),
        spans=[{"start": 11, "end": 14, "replacement": "blue", "kind": "attribute"}],
        author=None,
        key_id="key-1",
        idempotency_key=name,
        body_sha256="0" * 64,
        source="key-1",
    )
