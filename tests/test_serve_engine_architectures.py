"""Models that differ from LLaVA in positions, cache or masks: the engine answers as their own `generate` does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tiny_models
import torch
from engine_world import Answer, peft_model, save_adapter
from transformers import (
    Gemma3Config,
    Gemma3ForConditionalGeneration,
    GenerationConfig,
    Idefics3Config,
    Idefics3ForConditionalGeneration,
    LlamaConfig,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
)

from align.rendering import Rendered, Renderer
from serve.engine.config import EngineConfig
from serve.engine.engine import TransformersEngine
from serve.engine.protocol import BASE, Sampling
from serve.engine.sequence import TransformersPrompt
from serve.errors import SettingsError

IMAGE = 3
MAX_TOKENS = 16
TEXT = {
    "vocab_size": 360,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "initializer_range": 0.3,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
VISION = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 28,
    "patch_size": 7,
}


def qwen() -> Any:
    """Positions of an image count rows and columns, so that an answer's positions lag behind its tokens."""
    rope = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 3, 3]}
    vision = {"depth": 2, "hidden_size": 32, "intermediate_size": 64, "num_heads": 2, "out_hidden_size": 64}
    vision |= {"window_size": 56, "fullatt_block_indexes": [1]}
    return Qwen2_5_VLForConditionalGeneration(
        Qwen2_5_VLConfig(
            text_config={**TEXT, "rope_parameters": rope},
            vision_config=vision,
            image_token_id=IMAGE,
            video_token_id=6,
            vision_start_token_id=4,
            vision_end_token_id=5,
            tie_word_embeddings=False,
        )
    )


def qwen_prompt(number: int) -> Rendered:
    height, width = [(4, 4), (8, 4), (4, 12)][number % 3]
    input_ids = (1, 10 + number, 4, *[IMAGE] * (height * width // 4), 5, 20, 30 + number)
    tensors = {
        "pixel_values": torch.randn(height * width, 3 * 2 * 14 * 14),
        "image_grid_thw": torch.tensor([[1, height, width]]),
        "mm_token_type_ids": torch.tensor([[int(token_id == IMAGE) for token_id in input_ids]]),
    }
    return Rendered(input_ids, tensors)


def idefics() -> Any:
    return Idefics3ForConditionalGeneration(
        Idefics3Config(
            text_config=LlamaConfig(**TEXT, tie_word_embeddings=False),
            vision_config=VISION,
            scale_factor=2,
            image_token_id=IMAGE,
            pad_token_id=0,
            tie_word_embeddings=False,
        )
    )


def idefics_prompt(number: int) -> Rendered:
    num_images = 1 + number % 2
    tensors = {
        "pixel_values": torch.randn(1, num_images, 3, 28, 28),
        "pixel_attention_mask": torch.ones(1, num_images, 28, 28, dtype=torch.long),
    }
    return Rendered((1, 10 + number, *[IMAGE] * 4 * num_images, 20, 30 + number), tensors)


def gemma() -> Any:
    """Sliding and full attention in turn; the tokens of an image see each other."""
    text = {**TEXT, "num_hidden_layers": 4, "head_dim": 16, "query_pre_attn_scalar": 16}
    text |= {"sliding_window": 64, "layer_types": ["sliding_attention", "full_attention"] * 2}
    return Gemma3ForConditionalGeneration(
        Gemma3Config(
            text_config=text,
            vision_config=VISION,
            mm_tokens_per_image=4,
            image_token_index=IMAGE,
            boi_token_index=4,
            eoi_token_index=5,
            tie_word_embeddings=False,
        )
    )


def gemma_prompt(number: int) -> Rendered:
    num_images = 1 + number % 2
    input_ids = (1, 10 + number, *[4, IMAGE, IMAGE, IMAGE, IMAGE, 5] * num_images, 20, 30 + number)
    tensors = {
        "pixel_values": torch.randn(num_images, 3, 28, 28),
        "token_type_ids": torch.tensor([[int(token_id == IMAGE) for token_id in input_ids]]),
    }
    return Rendered(input_ids, tensors)


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


@pytest.mark.parametrize(
    ("make_model", "make_prompt"), [(qwen, qwen_prompt), (idefics, idefics_prompt), (gemma, gemma_prompt)]
)
def test_base_and_adapter_in_one_batch_answer_as_generate_does(
    make_model: Any, make_prompt: Any, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    model = make_model().eval()
    model.generation_config = GenerationConfig(eos_token_id=2, pad_token_id=0)
    layers = r".*(language_model|text_model).*(q_proj|v_proj|up_proj|down_proj)"
    adapted = peft_model(model, 1, target_modules=layers)
    prompts = [make_prompt(number) for number in range(6)]
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
        engine.submit(TransformersPrompt(prompt, ()), Sampling(MAX_TOKENS, 0.0), version, answer)
    assert [answer.wait().token_ids for answer in answers] == expected
    assert len({tuple(token_ids) for token_ids in expected}) == len(expected)
    engine.close()


def test_a_length_beyond_a_sliding_window_is_refused() -> None:
    with pytest.raises(SettingsError, match="64"):
        TransformersEngine(gemma(), Renderer(tiny_models.tiny_tokenizer()), EngineConfig(max_model_len=65))
