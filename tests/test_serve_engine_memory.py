"""What an engine keeps does not grow with the requests that it has answered, failed, cancelled or refused."""

from __future__ import annotations

import ctypes
import gc
import logging
import random
import weakref
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import tiny_models
import torch
from engine_world import Answer, peft_model, save_adapter
from tiny_models import png
from transformers import AutoModelForImageTextToText

from align.conversation import Conversation, Image, Message, Text
from align.rendering import Rendered
from serve.engine.config import EngineConfig
from serve.engine.engine import TransformersEngine
from serve.engine.protocol import BASE, Delta, Sampling
from serve.engine.sequence import Sequence

CONFIG = EngineConfig(
    max_num_sequences=8,
    max_model_len=128,
    num_adapter_slots=2,
    max_rank=8,
    image_cache_bytes=20_000,
    cache_bytes=4_000_000,
)
MIB = 2**20
LIBC = ctypes.CDLL(None)
COUNTS = hasattr(LIBC, "mallinfo2")
MOST_HELD = MIB if COUNTS else 8 * MIB


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.tiny_llava(tmp_path_factory.mktemp("llava"))


@pytest.fixture(scope="module")
def adapters(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    model = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32).eval()
    folders = tmp_path_factory.mktemp("adapters")
    return [save_adapter(peft_model(model, seed), folders / str(seed)) for seed in range(2)]


@pytest.fixture
def engine(folder: Path) -> Iterator[TransformersEngine]:
    engine = TransformersEngine.from_pretrained(folder, CONFIG)
    yield engine
    engine.close()


def ask_many(engine: TransformersEngine, adapters: list[Path], count: int, seed: int) -> None:
    """Requests of all kinds, each image another one; versions come and go meanwhile."""
    numbers = random.Random(seed)
    answers: list[Answer] = []
    for number in range(count):
        if number % 20 == 0:
            version = f"v{seed}-{number}"
            engine.load(version, adapters[number // 20 % 2])
            engine.unload(f"v{seed}-{number - 20}")
        picture = {"image": png(seed * 100_000 + number)}
        words = Text("word " * numbers.randrange(1, 20))
        prompt = engine.prepare(Conversation((Message("user", (Image("image"), words)),)), picture)
        assert isinstance(prompt, Rendered)
        image_id = f"{seed}-{number}"
        if number % 10 == 3:  # fails: the vision tower takes no such picture
            prompt = Rendered(prompt.input_ids, {"pixel_values": torch.zeros(1, 3, 14, 14)}, (image_id,))
        else:
            prompt = Rendered(prompt.input_ids, prompt.tensors, (image_id,))
        sampling = Sampling(
            numbers.randrange(1, 5), numbers.choice([0.0, 1.0]), top_logprobs=number % 3 or None
        )
        answer = Answer()
        sequence_id = engine.submit(prompt, sampling, numbers.choice([BASE, version]), answer)
        if number % 7 == 0:
            engine.cancel(sequence_id)
        answers.append(answer)
        if number % 8 == 7:
            for answer in answers:
                answer.wait()
            answers.clear()
    for answer in answers:
        answer.wait()
    engine.unload(version)


class MallocInfo(ctypes.Structure):
    """`struct mallinfo2` of glibc 2.33."""

    _fields_ = tuple(
        (name, ctypes.c_size_t)
        for name in (
            *("arena", "ordblks", "smblks", "hblks", "hblkhd"),
            *("usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"),
        )
    )


def allocated() -> int:
    """Bytes, by glibc's own count; elsewhere what the process has, which its allocator takes by leaps."""
    if not COUNTS:
        return psutil.Process().memory_info().rss
    LIBC.mallinfo2.restype = MallocInfo
    told = LIBC.mallinfo2()
    return int(told.uordblks + told.hblkhd)


def objects() -> int:
    gc.collect()
    return len(gc.get_objects())


def requests() -> list[Sequence | Rendered]:
    return [one for one in gc.get_objects() if type(one) in (Sequence, Rendered)]


def test_a_thousand_requests_leave_nothing_behind(
    engine: TransformersEngine,
    adapters: list[Path],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.CRITICAL, "serve.engine")  # pytest keeps what is logged, with what failed
    of_other_tests = requests()
    # what is kept once for good: caches of Python, torch and the allocator
    ask_many(engine, adapters, 200, seed=1)
    before, at_first = objects(), allocated()
    ask_many(engine, adapters, 1_000, seed=2)
    grown, held = objects() - before, allocated() - at_first
    assert [one.__class__ for one in requests() if all(one is not other for other in of_other_tests)] == []
    stats = engine.stats()
    assert (stats.num_running, stats.num_waiting, stats.adapters) == (0, 0, ())
    assert engine._live == engine._waiting == engine._slots._residents == {}
    assert engine._batch.sequences == engine._jobs == []
    features = engine._runner._image_features
    kept = sum(len(one) for one in features._kept.values())
    assert 0 < features._num_bytes <= CONFIG.image_cache_bytes
    assert kept < 50
    assert 0 < engine._runner._reader._prefixes.num_bytes <= CONFIG.prefix_share * 4_000_000
    assert grown < 200, f"{grown} objects more"
    assert held < MOST_HELD, f"{held / MIB:.2f} MiB more"


def test_pixels_are_let_go_of_when_the_prompt_is_read(engine: TransformersEngine) -> None:
    words = Text("What is there?")
    conversation = Conversation((Message("user", (Image("image"), words)),))
    prompt = engine.prepare(conversation, {"image": png(0)})
    assert isinstance(prompt, Rendered)
    pixels = weakref.ref(prompt.tensors["pixel_values"])
    answer, are_held = Answer(), []

    def look(delta: Delta) -> None:
        are_held.append(pixels() is not None)
        answer(delta)

    engine.submit(Rendered(prompt.input_ids, prompt.tensors, ("image",)), Sampling(4, 0.0), BASE, look)
    del prompt
    answer.wait()
    assert are_held == [False] * 4
