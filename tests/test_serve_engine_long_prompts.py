"""Prompts that are too long for one step: read in parts, while others go on, and answered as `generate` answers."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import tiny_models
import torch
from architectures import ARCHITECTURES, IMAGE, Architecture, llama, mistral, text_prompt
from engine_world import Answer, peft_model, save_adapter

from align.rendering import Rendered, Renderer
from serve.engine import whole_prompts
from serve.engine.config import EngineConfig
from serve.engine.engine import TransformersEngine
from serve.engine.protocol import BASE, Delta, Sampling

MAX_TOKENS = 10
MAX_PREFILL_TOKENS = 16
ALL = {
    **ARCHITECTURES,
    "llama": Architecture(llama, text_prompt),
    "mistral": Architecture(mistral, text_prompt),
}
SEES_IMAGES_BOTH_WAYS = {"gemma3"}
"""Whose images' tokens see each other, so that a causal mask is not theirs."""
LAYERS = r"(?!.*(vision|visual)).*(q_proj|v_proj|up_proj|down_proj)"


def followed(prompt: Rendered, *token_ids: int) -> Rendered:
    tensors = {
        name: torch.nn.functional.pad(tensor, (0, len(token_ids))) if "token_type_ids" in name else tensor
        for name, tensor in prompt.tensors.items()
    }
    return Rendered((*prompt.input_ids, *token_ids), tensors, prompt.image_ids)


class World:
    """A tiny model with one adapter in an engine that reads few tokens a step, and the lengths of all that it reads."""

    def __init__(self, architecture: Architecture, folder: Path, **settings: Any) -> None:
        self.model = architecture.model()
        adapted = peft_model(self.model, 1, target_modules=LAYERS)
        self._models = {BASE: self.model, "v1": adapted}
        self.served = architecture.model()
        config = {
            "max_num_sequences": 3,
            "max_model_len": 192,
            "num_adapter_slots": 1,
            "max_rank": 8,
            "max_prefill_tokens": MAX_PREFILL_TOKENS,
            "prefix_share": 0.0,
        }
        self.engine = TransformersEngine(
            self.served, Renderer(tiny_models.tiny_tokenizer()), EngineConfig(**{**config, **settings})
        )
        self.engine.load("v1", save_adapter(adapted, folder))
        self.prompts = [
            followed(architecture.make_prompt(self.model, number), *range(40, 70 + 7 * number))
            for number in range(3)
        ]
        self.lengths: list[int] = []
        self.served.get_decoder().register_forward_pre_hook(self._note_length, with_kwargs=True)
        self.expected = cache(self._generate)

    def _note_length(self, _: Any, arguments: Any, given: dict[str, Any]) -> None:
        if given.get("past_key_values") is None:  # nothing is read: its inputs are looked at
            return
        tokens = given["input_ids"] if given.get("inputs_embeds") is None else given["inputs_embeds"]
        self.lengths.append(tokens.shape[1])

    def ask(self, prompt: Rendered, version: str = BASE, max_tokens: int = MAX_TOKENS) -> Answer:
        answer = Answer()
        self.engine.submit(prompt, Sampling(max_tokens, 0.0, top_logprobs=0), version, answer)
        return answer

    def check(self, answer: Answer, number: int, version: str = BASE) -> None:
        token_ids, logprobs = self.expected(number, version)
        assert answer.wait().token_ids == token_ids
        scored = [entry.sampled.logprob for delta in answer.deltas for entry in delta.logprobs]
        assert scored == pytest.approx(logprobs[: len(scored)], abs=1e-4)

    def _generate(self, number: int, version: str) -> tuple[list[int], list[float]]:
        prompt = self.prompts[number]
        input_ids = torch.tensor([prompt.input_ids])
        output = self._models[version].generate(
            input_ids=input_ids,
            attention_mask=torch.ones_like(input_ids),
            max_new_tokens=MAX_TOKENS,
            do_sample=False,
            output_logits=True,
            return_dict_in_generate=True,
            **prompt.tensors,
        )
        token_ids = output.sequences[0, input_ids.shape[1] :].tolist()
        scores = [torch.log_softmax(logits[0], -1) for logits in output.logits]
        return token_ids, [float(of[token_id]) for of, token_id in zip(scores, token_ids, strict=True)]


@pytest.fixture
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    world = World(ALL[getattr(request, "param", "llava")], tmp_path)
    yield world
    world.engine.close()


@pytest.mark.parametrize("world", ALL, indirect=True)
def test_long_prompts_are_read_in_parts_and_answered_as_generate_answers(
    world: World, request: pytest.FixtureRequest
) -> None:
    """The first is read both ways, to see whether parts are exact for a model of its kind."""
    asked = [(number, version) for number in range(3) for version in (BASE, "v1")]
    for number in range(3):
        world.check(world.ask(world.prompts[number]), number)
    world.lengths.clear()
    answers = [world.ask(world.prompts[number], version) for number, version in asked]
    for (number, version), answer in zip(asked, answers, strict=True):
        world.check(answer, number, version)
    longest = max(prompt.num_tokens for prompt in world.prompts)
    is_whole = request.node.callspec.params["world"] in SEES_IMAGES_BOTH_WAYS
    assert max(world.lengths) == (longest if is_whole else MAX_PREFILL_TOKENS)


def test_running_answers_get_a_token_between_two_parts(world: World) -> None:
    world.ask(world.prompts[0]).wait()  # that it may be read in parts is known
    events: list[str] = []

    def note(name: str) -> Any:
        def on_delta(delta: Delta) -> None:
            events.append(name)
            if name == "running" and len(events) == 3:
                world.engine.submit(prompt, Sampling(1, 0.0), BASE, note("long"))
            answers[name](delta)

        return on_delta

    prompt, answers = world.prompts[2], {"running": Answer(), "long": Answer()}
    world.engine.submit(Rendered((1, 50), {}), Sampling(100, 0.0), BASE, note("running"))
    answers["long"].wait()
    num_parts = -(-prompt.num_tokens // MAX_PREFILL_TOKENS)
    assert num_parts > 3
    assert events[: events.index("long")] == ["running"] * (3 + num_parts)
    answers["running"].wait()


def test_a_long_prompt_that_is_given_up_leaves_its_place_to_the_next(world: World) -> None:
    world.ask(world.prompts[0]).wait()
    given_up, running = Answer(), Answer()
    ids: list[str] = []

    def on_delta(delta: Delta) -> None:
        if len(running.deltas) == 2:
            ids.append(world.engine.submit(world.prompts[2], Sampling(1, 0.0), BASE, given_up))
        if len(running.deltas) == 4:
            world.engine.cancel(ids[0])
        running(delta)

    world.engine.submit(Rendered((1, 50), {}), Sampling(40, 0.0), BASE, on_delta)
    assert (given_up.wait().finish_reason, given_up.token_ids) == ("cancelled", [])
    answers = [world.ask(world.prompts[number]) for number in (1, 2)]
    for number, answer in zip((1, 2), answers, strict=True):
        world.check(answer, number)
    running.wait()
    assert world.engine.stats().num_running == 0


@pytest.mark.parametrize("is_known", [False, True], ids=["the first of its kind", "a later one"])
@pytest.mark.parametrize(
    "pixels", [torch.zeros(1, 3, 14, 14), torch.full((1, 3, 28, 28), float("nan"))], ids=["raises", "nan"]
)
def test_a_long_prompt_that_fails_ends_alone_and_harms_no_row(
    world: World, pixels: torch.Tensor, is_known: bool
) -> None:
    if is_known:
        world.ask(world.prompts[0]).wait()
    running = world.ask(world.prompts[1])
    broken = Rendered((1, 50, *[IMAGE] * 16, *range(40, 80)), {"pixel_values": pixels}, ("broken",))
    failing = world.ask(broken)
    assert (failing.wait().finish_reason, failing.token_ids) == ("error", [])
    world.check(running, 1)
    answers = [world.ask(world.prompts[number]) for number in range(3)]  # in all rows
    for number, answer in enumerate(answers):
        world.check(answer, number)


def test_one_row_is_enough(tmp_path: Path) -> None:
    world = World(ARCHITECTURES["llava"], tmp_path, max_num_sequences=1)
    answers = [world.ask(world.prompts[number]) for number in range(3)]
    for number, answer in enumerate(answers):
        world.check(answer, number)
    world.engine.close()


def test_the_next_turn_of_a_long_conversation_is_read_from_where_it_was_left(tmp_path: Path) -> None:
    world = World(ARCHITECTURES["llava"], tmp_path, prefix_share=0.2)
    world.prompts += [followed(world.prompts[1], *turn) for turn in (range(100, 104), range(200, 240))]
    for number in (0, 1, 3):
        world.check(world.ask(world.prompts[number]), number)
    world.lengths.clear()
    again = world.ask(world.prompts[4])
    world.check(again, 4)
    assert again.deltas[0].num_reused_tokens == world.prompts[1].num_tokens
    assert world.lengths[:3] == [16, 16, 8]
    world.engine.close()


def test_a_model_that_scores_otherwise_in_parts_is_found_out_and_reads_prompts_whole(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    def moved(_: Any, arguments: Any, given: dict[str, Any]) -> Any:
        embeddings = given.get("inputs_embeds")
        if given.get("position_ids") is not None and embeddings is not None and embeddings.shape[1] > 1:
            given["position_ids"] = given["position_ids"] * 2
        return arguments, given

    world.served.get_decoder().register_forward_pre_hook(moved, with_kwargs=True, prepend=True)
    for number in range(3):
        world.check(world.ask(world.prompts[number]), number)
    assert caplog.text.count("cannot read a long prompt with images in parts") == 1


def test_a_model_that_gives_its_decoder_more_than_can_be_cut_reads_prompts_whole(
    world: World, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(whole_prompts, "CUT_OR_MADE_ANEW", ("attention_mask", "past_key_values"))
    for number in range(3):
        world.check(world.ask(world.prompts[number]), number)
    assert caplog.text.count("cannot read a long prompt with images in parts") == 1


@pytest.mark.parametrize(
    "trouble", [torch.OutOfMemoryError("no memory"), RuntimeError("can't allocate memory: none is left")]
)
def test_memory_that_is_short_for_once_says_nothing_about_a_model(
    world: World, caplog: pytest.LogCaptureFixture, trouble: Exception
) -> None:
    def short_of_memory(_: Any, arguments: Any, given: dict[str, Any]) -> None:
        if given.get("inputs_embeds") is not None and given["inputs_embeds"].shape[1] == MAX_PREFILL_TOKENS:
            raise trouble

    hook = world.served.get_decoder().register_forward_pre_hook(short_of_memory, with_kwargs=True)
    world.check(world.ask(world.prompts[0]), 0)
    hook.remove()
    world.check(world.ask(world.prompts[1]), 1)
    world.lengths.clear()
    world.check(world.ask(world.prompts[2]), 2)
    assert max(world.lengths) == MAX_PREFILL_TOKENS
    assert "in parts" not in caplog.text
