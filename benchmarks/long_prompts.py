"""How long running answers wait for a long prompt that is read beside them, by how much of it a step reads.

A LLaVA of random weights with 576 tokens an image answers four questions, and a prompt of several images and many
words comes. `whole` reads it in one step. Sizes take turns, round after round: a ratio is that of two in one round.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import tempfile
import threading
import time
import zlib
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.table import Table
from transformers.utils import logging

from align.conversation import Conversation, Image, Message, Text
from align.scenes.draw import png_bytes
from align.scenes.world import sample_scene
from serve.engine.config import EngineConfig
from serve.engine.engine import TransformersEngine
from serve.engine.protocol import BASE, Delta, Prompt, Sampling

from .shapes import NARROW, random_llava

MODEL_LEN = 2048
NUM_IMAGES, NUM_WORDS = 2, 750
NUM_RUNNING = 4
NUM_TOKENS_BEFORE = 16
SIZES = {"256": 256, "1024": 1024, "whole": MODEL_LEN}
WHOLE = "whole"
WAIT_S = 600


@dataclass(frozen=True)
class Waited:
    size: str
    round: int
    num_prompt_tokens: int
    longest_gap_s: float
    """Between two tokens of one running answer, while the prompt is read."""
    steady_gap_s: float
    """Half of those before it came."""
    first_token_s: float
    """Of the long prompt."""


class Stream:
    """When its tokens came."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self._has_come = threading.Condition()

    def __call__(self, delta: Delta) -> None:
        with self._has_come:
            self.times += [time.perf_counter()] * len(delta.token_ids)
            self._has_come.notify_all()

    def wait_for(self, count: int) -> None:
        with self._has_come:
            assert self._has_come.wait_for(lambda: len(self.times) >= count, WAIT_S)


def main() -> None:
    options = _parser().parse_args()
    num_rounds = 1 if options.quick else options.rounds
    logging.disable_progress_bar()
    results: list[Waited] = []
    with tempfile.TemporaryDirectory() as folder:
        model = random_llava(Path(folder), NARROW)
        engines = {
            size: TransformersEngine.from_pretrained(
                model,
                EngineConfig(max_model_len=MODEL_LEN, max_num_sequences=8, max_prefill_tokens=num_tokens),
            )
            for size, num_tokens in SIZES.items()
        }
        for number in range(-1, num_rounds):  # the first time a prompt is read both ways
            for size, engine in engines.items():
                waited = measure(engine, size, number)
                results += [waited] if number >= 0 else []
        for engine in engines.values():
            engine.close()
    Console(width=120).print(_table(results))
    if options.json:
        options.json.write_text(json.dumps(_report(results), indent=2) + "\n")


def measure(engine: TransformersEngine, size: str, number: int) -> Waited:
    running, long = [Stream() for _ in range(NUM_RUNNING)], Stream()
    ids = [
        engine.submit(_prompt(engine, 0, 8, f"{number}{index}"), Sampling(1500, 0.0), BASE, stream)
        for index, stream in enumerate(running)
    ]
    for stream in running:
        stream.wait_for(NUM_TOKENS_BEFORE)
    prompt = _prompt(engine, NUM_IMAGES, NUM_WORDS, f"{number}")
    began = time.perf_counter()
    engine.submit(prompt, Sampling(1, 0.0), BASE, long)
    long.wait_for(1)
    for stream in running:
        stream.wait_for(1 + sum(at <= long.times[0] for at in stream.times))
    for sequence_id in ids:
        engine.cancel(sequence_id)
    gaps = [
        (before, after - before)
        for stream in running
        for before, after in zip(stream.times, stream.times[1:], strict=False)
    ]
    return Waited(
        size,
        number,
        prompt.num_tokens,
        max(gap for before, gap in gaps if before + gap > began),
        median(gap for before, gap in gaps if before + gap <= began),
        long.times[0] - began,
    )


def _prompt(engine: TransformersEngine, num_images: int, num_words: int, name: str) -> Prompt:
    """About pictures, and with words, that no other prompt has."""
    pictures = [
        png_bytes(sample_scene("honest", "test", zlib.crc32(f"{name} {index}".encode())))
        for index in range(num_images)
    ]
    by_digest = {hashlib.sha256(picture).hexdigest(): picture for picture in pictures}
    words = Text(f"{name} " + "car " * num_words)
    parts = (*(Image(sha256) for sha256 in by_digest), words)
    return engine.prepare(Conversation((Message("user", parts),)), by_digest)


def _report(results: list[Waited]) -> dict[str, object]:
    by_round = {(one.size, one.round): one for one in results}
    ratios = {
        size: [
            by_round[size, number].longest_gap_s / by_round[WHOLE, number].longest_gap_s
            for number in sorted({one.round for one in results})
        ]
        for size in SIZES
        if size != WHOLE
    }
    return {
        "longest_gap_over_whole": {
            size: {"median": round(median(of), 3), "low": round(min(of), 3), "high": round(max(of), 3)}
            for size, of in ratios.items()
        },
        "machine": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores",
        "date": date.today().isoformat(),
        "rounds": [asdict(one) for one in results],
    }


def _table(results: list[Waited]) -> Table:
    table = Table(
        title=f"{NUM_RUNNING} answers beside a prompt of {results[0].num_prompt_tokens} tokens: medians in ms"
    )
    for column in ("tokens a step", "gap before", "longest gap while it is read", "its first token after"):
        table.add_column(column)
    for size in SIZES:
        of_size = [one for one in results if one.size == size]
        table.add_row(
            size,
            *(
                f"{1e3 * median(values):.0f}"
                for values in (
                    [one.steady_gap_s for one in of_size],
                    [one.longest_gap_s for one in of_size],
                    [one.first_token_s for one in of_size],
                )
            ),
        )
    return table


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.long_prompts", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="how often each size is measured")
    parser.add_argument("--quick", action="store_true", help="one round")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    return parser


if __name__ == "__main__":
    main()
