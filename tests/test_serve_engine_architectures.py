"""Models that differ in positions, cache, masks or images: every row of any batch answers as their `generate` does."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import tiny_models
import torch
from architectures import ARCHITECTURES, Architecture, llama, mistral, text_prompt
from engine_world import Answer, peft_model, save_adapter
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from align.rendering import Rendered, Renderer
from serve.engine.config import EngineConfig
from serve.engine.engine import TransformersEngine
from serve.engine.protocol import BASE, Sampling
from serve.engine.whole_prompts import groups

MAX_TOKENS = 12
VERSIONS = (BASE, "live", "candidate", "pinned")
WITHOUT_IMAGES = {"llama": Architecture(llama, text_prompt), "mistral": Architecture(mistral, text_prompt)}
ALL = {**ARCHITECTURES, **WITHOUT_IMAGES}
LAYERS = r"(?!.*(vision|visual)).*(q_proj|v_proj|up_proj|down_proj)"


@dataclass(frozen=True)
class Expected:
    token_ids: list[int]
    logprobs: list[float]
    """Of these tokens, from the logits that `generate` saw."""


def lengthened(prompt: Rendered, num_tokens: int) -> Rendered:
    """With so many words after it: its images are out of the sight of a sliding window of 64 then."""
    tensors = {
        name: torch.nn.functional.pad(tensor, (0, num_tokens)) if name.endswith("token_type_ids") else tensor
        for name, tensor in prompt.tensors.items()
    }
    return Rendered((*prompt.input_ids, *range(40, 40 + num_tokens)), tensors, prompt.image_ids)


class World:
    """A tiny model in an engine, with three adapters, its prompts, and what `generate` answers to each."""

    def __init__(self, name: str, folder: Path, **settings: Any) -> None:
        model = ALL[name].model()
        adapted = {
            version: peft_model(model, seed, r=2 + seed, target_modules=LAYERS)
            for seed, version in enumerate(VERSIONS[1:])
        }
        self._models = {BASE: model, **adapted}
        self.prompts = [ALL[name].make_prompt(model, number) for number in range(5)]
        self.prompts += [text_prompt(model, number) for number in (5, 6)]
        self.prompts.append(lengthened(self.prompts[3], 70))
        config = EngineConfig(
            max_num_sequences=4, max_model_len=128, num_adapter_slots=3, max_rank=8, **settings
        )
        self.served = ALL[name].model()
        self.engine = TransformersEngine(self.served, Renderer(tiny_models.tiny_tokenizer()), config)
        for version, one in adapted.items():
            self.engine.load(version, save_adapter(one, folder / version))
        self.expected = cache(self._generate)

    def ask(self, number: int, version: str) -> Answer:
        answer = Answer()
        sampling = Sampling(MAX_TOKENS, 0.0, top_logprobs=0)
        self.engine.submit(self.prompts[number], sampling, version, answer)
        return answer

    def _generate(self, number: int, version: str) -> Expected:
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
        token_ids: list[int] = output.sequences[0, input_ids.shape[1] :].tolist()
        scores = [torch.log_softmax(logits[0], -1) for logits in output.logits]
        return Expected(
            token_ids, [float(of[token_id]) for of, token_id in zip(scores, token_ids, strict=True)]
        )


@pytest.fixture(scope="module", params=ALL)
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    world = World(request.param, tmp_path_factory.mktemp(request.param), max_prefill_tokens=64)
    yield world
    world.engine.close()


# eight prompts; the last is longer than Gemma's window, and than what is read in a step
requests = st.lists(
    st.tuples(st.integers(0, 7), st.sampled_from(VERSIONS), st.integers(0, 6)), min_size=2, max_size=9
)


def test_prompts_and_versions_are_told_apart(world: World) -> None:
    answers = [world.expected(number, version) for number in range(3) for version in VERSIONS]
    assert len({tuple(answer.token_ids) for answer in answers}) >= 10


@settings(
    max_examples=8,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(requests)
def test_every_row_answers_as_generate_does_whenever_requests_arrive(
    world: World, requests: list[tuple[int, str, int]]
) -> None:
    """After each request some tokens pass before the next; scores are equal to 1e-4 in float32."""
    answers: list[Answer] = []
    for number, version, num_tokens in requests:
        answers.append(world.ask(number, version))
        answers[len(answers) // 2].wait_for_tokens(num_tokens)
    for (number, version, _), answer in zip(requests, answers, strict=True):
        expected = world.expected(number, version)
        assert answer.wait().token_ids == expected.token_ids
        scored = [entry.sampled for delta in answer.deltas for entry in delta.logprobs]
        assert [token.logprob for token in scored] == pytest.approx(
            expected.logprobs[: len(scored)], abs=1e-4
        )
        assert len(scored) >= len(expected.token_ids) - 1


@pytest.mark.parametrize("name", ALL)
def test_prompts_that_meet_are_read_in_one_forward(name: str, tmp_path: Path) -> None:
    """Of different lengths, images and versions. The first time each is read alone, too, and both are compared."""
    world = World(name, tmp_path, prefix_share=0.0)
    shapes, forward = [], world.served.forward

    def recorded(*arguments: Any, **options: Any) -> Any:
        shapes.append(tuple(options["input_ids"].shape))
        return forward(*arguments, **options)

    world.served.forward = recorded
    met = list(zip((1, 2, 3, 4), VERSIONS, strict=True))
    if world.prompts[1].image_ids:  # one of words alone among them
        met[3] = (5, met[3][1])
        world.prompts[5] = text_prompt(None, 2)
    lengths = [world.prompts[number].num_tokens for number, _ in met]
    assert len(set(lengths)) > 1
    for meeting in range(2):
        shapes.clear()
        with world.engine._condition:  # no step begins before all have come
            answers = [world.ask(number, version) for number, version in met]
        for (number, version), answer in zip(met, answers, strict=True):
            assert answer.wait().token_ids == world.expected(number, version).token_ids
            scored = [entry.sampled.logprob for delta in answer.deltas for entry in delta.logprobs]
            assert scored == pytest.approx(world.expected(number, version).logprobs[: len(scored)], abs=1e-4)
        read = [shape for shape in shapes if shape[1] > 1]
        together = [(len(group), lengths[group[0]]) for group in groups(lengths)]
        assert max(together)[0] >= 3
        if meeting == 1:
            assert read == together
    world.engine.close()
