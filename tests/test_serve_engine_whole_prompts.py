"""Which prompts are read in one forward, and what a model does that cannot read several at once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import tiny_models
import torch
from architectures import ARCHITECTURES
from engine_world import Answer

from align.rendering import Rendered, Renderer
from serve.engine.config import EngineConfig
from serve.engine.engine import TransformersEngine
from serve.engine.protocol import BASE, Sampling
from serve.engine.whole_prompts import MAX_PADDING, groups

LLAVA = ARCHITECTURES["llava"]
IMAGE = 3


@pytest.mark.parametrize(
    ("lengths", "expected"),
    [
        ([], []),
        ([7], [[0]]),
        ([40, 44, 38], [[1, 0, 2]]),
        ([10, 1000, 11, 980], [[1, 3], [2, 0]]),
        ([31, 10, 10, 10], [[0], [1, 2, 3]]),
    ],
)
def test_prompts_of_like_length_are_read_together(lengths: list[int], expected: list[list[int]]) -> None:
    assert groups(lengths) == expected


def test_no_group_is_padding_beyond_its_share_and_none_is_left_out() -> None:
    lengths = [number**2 % 97 + 1 for number in range(60)]
    found = groups(lengths)
    assert sorted(index for group in found for index in group) == list(range(60))
    for group in found:
        padded = len(group) * max(lengths[index] for index in group)
        assert padded - sum(lengths[index] for index in group) <= MAX_PADDING * padded


class World:
    """A tiny LLaVA in an engine, the rows of each forward over prompts, and the images of each pass of its encoder."""

    def __init__(self) -> None:
        self.model = LLAVA.model()
        config = EngineConfig(max_num_sequences=4, max_model_len=128, num_adapter_slots=0, prefix_share=0.0)
        self.engine = TransformersEngine(self.model, Renderer(tiny_models.tiny_tokenizer()), config)
        self.num_rows: list[int] = []
        self.num_images: list[int] = []
        self.shift_together = 0
        forward, encode = self.model.forward, self.model.get_image_features

        def read(*arguments: Any, **options: Any) -> Any:
            num_rows, num_tokens = options["input_ids"].shape
            if num_tokens > 1:
                self.num_rows.append(num_rows)
            if num_tokens > 1 and num_rows > 1 and self.shift_together:
                options["position_ids"] = torch.arange(num_tokens)[None] * (1 + self.shift_together)
            return forward(*arguments, **options)

        def encoded(pixel_values: torch.Tensor, **options: Any) -> Any:
            self.num_images.append(len(pixel_values))
            return encode(pixel_values, **options)

        self.model.forward, self.model.get_image_features = read, encoded

    def meet(self, prompts: list[Rendered]) -> list[Answer]:
        """Asked before the next step begins, and answered."""
        self.num_rows.clear()
        self.num_images.clear()
        answers = [Answer() for _ in prompts]
        with self.engine._condition:
            for prompt, answer in zip(prompts, answers, strict=True):
                self.engine.submit(prompt, Sampling(8, 0.0), BASE, answer)
        return [answer.wait() for answer in answers]

    def generated(self, prompt: Rendered) -> list[int]:
        input_ids = torch.tensor([prompt.input_ids])
        output = LLAVA.model().generate(
            input_ids=input_ids,
            attention_mask=torch.ones_like(input_ids),
            max_new_tokens=8,
            do_sample=False,
            **prompt.tensors,
        )
        ids: list[int] = output[0, input_ids.shape[1] :].tolist()
        return ids


@pytest.fixture
def world() -> Iterator[World]:
    world = World()
    yield world
    world.engine.close()


def prompts(start: int, size: int = 28) -> list[Rendered]:
    return [pictured(f"{start + number}", size, 10 + start + number) for number in range(3)]


def pictured(image_id: str, size: int, word: int) -> Rendered:
    pixels = torch.randn(1, 3, size, size, generator=torch.Generator().manual_seed(word))
    return Rendered((1, word, *[IMAGE] * 16, 20), {"pixel_values": pixels}, (image_id,))


def test_new_images_of_one_size_are_encoded_in_one_pass_and_known_ones_not_again(world: World) -> None:
    world.meet(prompts(6))  # the first time each is read alone, too
    met = prompts(0)
    for prompt, answer in zip(met, world.meet(met), strict=True):
        assert answer.token_ids == world.generated(prompt)
    assert world.num_images == [3]
    features = world.engine._runner._image_features
    assert features._num_bytes == sum(
        one.untyped_storage().nbytes() for kept in features._kept.values() for one in kept
    )  # none keeps the memory of all
    world.meet(met)
    assert world.num_images == []
    new = prompts(3)
    world.meet([met[0], new[0], new[0], new[1]])
    assert world.num_images == [2]


def test_a_model_that_scores_otherwise_together_is_found_out_and_reads_each_alone(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.shift_together = 2
    for start in (0, 3):
        met = prompts(start)
        for prompt, answer in zip(met, world.meet(met), strict=True):
            assert answer.token_ids == world.generated(prompt)
    assert "when several are read together" in caplog.text
    assert world.num_rows == [1, 1, 1]


def test_memory_that_is_short_for_once_says_nothing_about_reading_together(
    world: World, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = world.engine._runner._reader._whole
    forward = whole._forward

    def short_of_memory(placed: Any) -> torch.Tensor:
        if len(placed) > 1:
            raise torch.OutOfMemoryError("no memory")
        return forward(placed)

    monkeypatch.setattr(whole, "_forward", short_of_memory)
    world.meet(prompts(0))
    monkeypatch.setattr(whole, "_forward", forward)
    world.meet(prompts(3))
    world.meet(prompts(6))
    assert world.num_rows == [3]
    assert "when several are read together" not in caplog.text


def test_a_prompt_that_fails_among_others_ends_alone_and_they_are_read_together_after_it(
    world: World,
) -> None:
    broken = pictured("broken", 14, 40)
    unsound = Rendered(broken.input_ids, {"pixel_values": torch.full((1, 3, 28, 28), float("nan"))}, ("nan",))
    for failing in (broken, unsound):
        met = prompts(0)
        answers = world.meet([met[0], failing, *met[1:]])
        assert [answer.finish_reason == "error" for answer in answers] == [False, True, False, False]
        for prompt, answer in zip(met, [answers[0], *answers[2:]], strict=True):
            assert answer.token_ids == world.generated(prompt)
    world.meet(prompts(3))
    assert world.num_rows == [3]
