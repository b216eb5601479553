"""Models that differ from LLaVA in positions, cache or masks: the engine answers as their own `generate` does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tiny_models
import torch
from architectures import ARCHITECTURES
from engine_world import Answer, peft_model, save_adapter

from align.rendering import Rendered, Renderer
from serve.engine.config import EngineConfig
from serve.engine.engine import TransformersEngine
from serve.engine.protocol import BASE, Sampling
from serve.errors import SettingsError

MAX_TOKENS = 16


def generate(model: Any, prompt: Rendered) -> list[int]:
    input_ids = torch.tensor([prompt.input_ids])
    output = model.generate(
        input_ids=input_ids,
        attention_mask=torch.ones_like(input_ids),
        max_new_tokens=MAX_TOKENS,
        do_sample=False,
        **prompt.tensors,
    )
    ids: list[int] = output[0, input_ids.shape[1] :].tolist()
    return ids


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_base_and_adapter_in_one_batch_answer_as_generate_does(name: str, tmp_path: Path) -> None:
    model = ARCHITECTURES[name].model()
    layers = r".*(language_model|text_model).*(q_proj|v_proj|up_proj|down_proj)"
    adapted = peft_model(model, 1, target_modules=layers)
    prompts = [ARCHITECTURES[name].make_prompt(model, number) for number in range(6)]
    versions = [BASE, "v1"] * 3
    expected = [
        generate(adapted if version == "v1" else model, prompt)
        for prompt, version in zip(prompts, versions, strict=True)
    ]

    config = EngineConfig(max_model_len=64, num_adapter_slots=2, max_rank=8)
    engine = TransformersEngine(model, Renderer(tiny_models.tiny_tokenizer()), config)
    engine.load("v1", save_adapter(adapted, tmp_path))
    answers = [Answer() for _ in prompts]
    for prompt, version, answer in zip(prompts, versions, answers, strict=True):
        engine.submit(prompt, Sampling(MAX_TOKENS, 0.0), version, answer)
    assert [answer.wait().token_ids for answer in answers] == expected
    assert len({tuple(token_ids) for token_ids in expected}) == len(expected)
    engine.close()


def test_a_length_beyond_a_sliding_window_is_refused() -> None:
    with pytest.raises(SettingsError, match="64"):
        TransformersEngine(
            ARCHITECTURES["gemma3"].model(),
            Renderer(tiny_models.tiny_tokenizer()),
            EngineConfig(max_model_len=65),
        )
