"""A prompt that begins like one before is read from where they part, and answered as if it had been read whole."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tiny_models
import torch
from architectures import ARCHITECTURES, Architecture, llama, paligemma, paligemma_prompt, text_prompt
from engine_world import Answer, peft_model, save_adapter

from align.rendering import Rendered, Renderer
from serve.engine.config import EngineConfig
from serve.engine.engine import TransformersEngine
from serve.engine.prefixes import BLOCK, Prefixes, Reading
from serve.engine.protocol import BASE, Sampling
from serve.errors import SettingsError

MAX_TOKENS = 10
TOKEN_BYTES = 8


def reading(*token_ids: int, version: str = "v1", image_ids: tuple[str, ...] = ()) -> Reading:
    layer = torch.zeros(1, len(token_ids), 1)
    return Reading(version, token_ids, image_ids, ((layer, layer),), 0)


def shared(prefixes: Prefixes, *token_ids: int, version: str = "v1", image_ids: tuple[str, ...] = ()) -> int:
    found = prefixes.longest(version, token_ids, image_ids)
    return 0 if found is None else found[1]


def test_the_longest_common_beginning_is_found_if_it_is_a_block_at_least() -> None:
    prefixes = Prefixes(10_000)
    prefixes.keep(reading(*range(3 * BLOCK + 5)))
    prefixes.keep(reading(*range(BLOCK), *range(500, 500 + BLOCK)))
    assert shared(prefixes, *range(3 * BLOCK + 5), 9) == 3 * BLOCK + 5
    assert shared(prefixes, *range(3 * BLOCK + 2), 9) == 3 * BLOCK + 2
    assert shared(prefixes, *range(2 * BLOCK + 3)) == 2 * BLOCK + 3
    assert shared(prefixes, *range(BLOCK), *range(500, 500 + BLOCK), 1) == 2 * BLOCK
    assert shared(prefixes, *range(BLOCK), *range(900, 900 + BLOCK)) == BLOCK
    assert shared(prefixes, *range(BLOCK - 1)) == 0
    assert shared(prefixes, 1, *range(BLOCK)) == 0


def test_another_version_and_other_images_share_nothing() -> None:
    prefixes = Prefixes(10_000)
    prefixes.keep(reading(*range(BLOCK), image_ids=("a",)))
    assert shared(prefixes, *range(BLOCK), image_ids=("a",)) == BLOCK
    assert shared(prefixes, *range(BLOCK), image_ids=("b",)) == 0
    assert shared(prefixes, *range(BLOCK)) == 0
    assert shared(prefixes, *range(BLOCK), version="v2", image_ids=("a",)) == 0


def test_what_was_not_used_for_longest_goes_first_and_the_bound_is_kept() -> None:
    prefixes = Prefixes(3 * BLOCK * TOKEN_BYTES)
    prompts = [tuple(range(start, start + BLOCK)) for start in (0, 100, 200, 300)]
    for prompt in prompts[:3]:
        prefixes.keep(reading(*prompt))
    assert shared(prefixes, *prompts[0]) == BLOCK
    prefixes.keep(reading(*prompts[3]))
    assert [shared(prefixes, *prompt) for prompt in prompts] == [BLOCK, 0, BLOCK, BLOCK]
    assert prefixes.num_bytes == 3 * BLOCK * TOKEN_BYTES
    prefixes.keep(reading(*range(4 * BLOCK)))  # larger than all there is
    assert prefixes.num_bytes == 3 * BLOCK * TOKEN_BYTES


def test_a_prompt_that_is_kept_twice_is_kept_once_and_nothing_is_left_of_what_went() -> None:
    prefixes = Prefixes(BLOCK * TOKEN_BYTES)
    for _ in range(2):
        prefixes.keep(reading(*range(BLOCK)))
    assert prefixes.num_bytes == BLOCK * TOKEN_BYTES
    prefixes.keep(reading(*range(100, 100 + BLOCK)))
    assert (len(prefixes._kept), len(prefixes._beginnings)) == (1, 1)


class World:
    """A tiny model in an engine, and how many tokens of prompts it read."""

    def __init__(self, architecture: Architecture, folder: Path) -> None:
        layers = r"(?!.*(vision|visual)).*(q_proj|v_proj|up_proj|down_proj)"
        self.model = architecture.model()
        self.adapted = peft_model(self.model, 1, target_modules=layers)
        self.served = served = architecture.model()
        config = EngineConfig(max_num_sequences=2, max_model_len=128, num_adapter_slots=1, max_rank=8)
        self.engine = TransformersEngine(served, Renderer(tiny_models.tiny_tokenizer()), config)
        self.engine.load("v1", save_adapter(self.adapted, folder))
        self.lengths: list[int] = []
        forward, prefill = served.forward, self.engine._runner.prefill
        is_reading = False

        def counted(*arguments: Any, **options: Any) -> Any:
            if is_reading:
                self.lengths.append(options["input_ids"].shape[1])
            return forward(*arguments, **options)

        def reading_prompts(*arguments: Any) -> torch.Tensor:
            nonlocal is_reading
            is_reading = True
            try:
                return prefill(*arguments)
            finally:
                is_reading = False

        served.forward = counted
        self.engine._runner.prefill = reading_prompts  # type: ignore[method-assign]

    def num_read(self, prompt: Rendered, version: str = BASE) -> list[int]:
        """Lengths of what was read for it, its answer compared with `generate`'s."""
        self.lengths.clear()
        answer = Answer()
        self.engine.submit(prompt, Sampling(MAX_TOKENS, 0.0), version, answer)
        input_ids = torch.tensor([prompt.input_ids])
        output = (self.model if version == BASE else self.adapted).generate(
            input_ids=input_ids,
            attention_mask=torch.ones_like(input_ids),
            max_new_tokens=MAX_TOKENS,
            do_sample=False,
            **prompt.tensors,
        )
        assert answer.wait().token_ids == output[0, input_ids.shape[1] :].tolist()
        reused = [delta.num_reused_tokens for delta in answer.deltas]
        assert reused == [prompt.num_tokens - self.lengths[-1], *[0] * (len(reused) - 1)]
        return list(self.lengths)


def followed(prompt: Rendered, *token_ids: int) -> Rendered:
    tensors = {
        name: torch.nn.functional.pad(tensor, (0, len(token_ids))) if "token_type_ids" in name else tensor
        for name, tensor in prompt.tensors.items()
    }
    return Rendered((*prompt.input_ids, *token_ids), tensors, prompt.image_ids)


ALL = {**ARCHITECTURES, "llama": Architecture(llama, text_prompt)}


@pytest.fixture(scope="module", params=ALL)
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    world = World(ALL[request.param], tmp_path_factory.mktemp(request.param))
    world.prompt = followed(ALL[request.param].make_prompt(world.model, 3), *range(40, 70))  # type: ignore[attr-defined]
    yield world
    world.engine.close()


def test_the_next_turn_is_read_from_where_the_last_one_ended(world: Any) -> None:
    first = world.prompt
    assert first.num_tokens in world.num_read(first)
    for turn in (range(100, 110), range(200, 205)):
        # the first time both ways are compared
        assert world.num_read(followed(first, *turn))[-1] == len(turn)
    assert world.num_read(first) == [1]


def test_each_version_reads_for_itself(world: Any) -> None:
    prompt = followed(world.prompt, 77, 78)
    world.num_read(prompt)
    assert world.num_read(prompt, "v1") == [prompt.num_tokens]
    assert world.num_read(followed(prompt, 79), "v1")[-1] == 1


def test_a_version_whose_name_another_adapter_gets_has_read_nothing(tmp_path: Path) -> None:
    world = World(ARCHITECTURES["llava"], tmp_path / "one")
    prompt = Rendered((1, *range(40, 80)), {})
    world.num_read(prompt, "v1")
    world.adapted = peft_model(
        ARCHITECTURES["llava"].model(), 5, target_modules=r"(?!.*vision).*(q_proj|v_proj)"
    )
    world.engine.unload("v1")
    world.engine.load("v1", save_adapter(world.adapted, tmp_path / "two"))
    assert world.num_read(followed(prompt, 90), "v1") == [prompt.num_tokens + 1]
    world.engine.close()


@pytest.mark.parametrize(
    "trouble", [torch.OutOfMemoryError("no memory"), RuntimeError("can't allocate memory: none is left")]
)
def test_memory_that_is_short_for_once_says_nothing_about_a_model(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, trouble: Exception
) -> None:
    world = World(ARCHITECTURES["llava"], tmp_path)
    forward = world.served.forward

    def short_of_memory(*arguments: Any, **options: Any) -> Any:
        if "position_ids" in options and options["input_ids"].shape[1] > 1:
            raise trouble
        return forward(*arguments, **options)

    prompt = Rendered((1, *range(40, 80)), {})
    world.num_read(prompt)
    world.served.forward = short_of_memory
    longer = followed(prompt, 90, 91)
    assert world.num_read(longer)[-1] == longer.num_tokens, "it is read whole"
    world.served.forward = forward
    world.num_read(followed(prompt, 92, 93))
    assert world.num_read(followed(prompt, 92, 93, 94, 95))[-1] == 2
    assert "when it is read in parts" not in caplog.text
    world.engine.close()


def test_an_image_in_what_is_left_is_read_with_the_whole(tmp_path: Path) -> None:
    world = World(ARCHITECTURES["llava"], tmp_path)
    words = (1, *range(40, 40 + BLOCK))
    world.num_read(Rendered(words, {}))
    pictured = Rendered((*words, *[3] * 16, 50), {"pixel_values": torch.randn(1, 3, 28, 28)}, ("a",))
    assert world.num_read(pictured) == [pictured.num_tokens]
    other = Rendered(pictured.input_ids, {"pixel_values": torch.randn(1, 3, 28, 28)}, ("b",))
    assert world.num_read(other) == [other.num_tokens]
    world.engine.close()


def test_a_model_that_scores_otherwise_in_parts_is_found_out_and_reads_prompts_whole(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    world = World(ARCHITECTURES["llava"], tmp_path)
    forward = world.served.forward

    def moved(*arguments: Any, **options: Any) -> Any:
        if "position_ids" in options and options["input_ids"].shape[1] > 1:
            options["position_ids"] = options["position_ids"] + 3
        return forward(*arguments, **options)

    world.served.forward = moved
    prompt = Rendered((1, *range(40, 80)), {})
    world.num_read(prompt)
    world.num_read(followed(prompt, 90, 91))
    assert "when it is read in parts" in caplog.text
    again = followed(prompt, 92, 93)
    assert world.num_read(again) == [again.num_tokens]
    world.engine.close()


def test_a_model_that_goes_on_otherwise_than_from_a_prompt_is_refused() -> None:
    """PaliGemma counts positions from one, and its prompts see themselves both ways."""
    model = Architecture(paligemma, paligemma_prompt).model()
    with pytest.raises(SettingsError, match="of a kind that is not served"):
        TransformersEngine(model, Renderer(tiny_models.tiny_tokenizer()), EngineConfig(max_model_len=64))


def test_a_prompt_whose_scores_are_not_finite_is_not_kept(tmp_path: Path) -> None:
    world = World(ARCHITECTURES["llava"], tmp_path)
    pixels = {"pixel_values": torch.full((1, 3, 28, 28), float("nan"))}
    broken = Rendered((1, *[3] * 16, *range(40, 60)), pixels, ("nan",))
    for _ in range(2):
        world.lengths.clear()
        answer = Answer()
        world.engine.submit(broken, Sampling(2, 0.0), BASE, answer)
        assert answer.wait().finish_reason == "error"
        assert broken.num_tokens in world.lengths
    world.engine.close()


def test_a_share_of_none_keeps_nothing(tmp_path: Path) -> None:
    config = EngineConfig(max_model_len=128, num_adapter_slots=0, prefix_share=0.0)
    model = Architecture(llama, text_prompt).model()
    engine = TransformersEngine(model, Renderer(tiny_models.tiny_tokenizer()), config)
    answer = Answer()
    engine.submit(text_prompt(model, 6), Sampling(2, 0.0), BASE, answer)
    answer.wait()
    assert engine._runner._reader._prefixes.num_bytes == 0
    engine.close()
