"""Tiny random models that differ from LLaVA in positions, masks or image features, and prompts for them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain
from typing import Any

import torch
from transformers import (
    CLIPVisionConfig,
    Gemma3Config,
    Gemma3ForConditionalGeneration,
    GenerationConfig,
    Idefics3Config,
    Idefics3ForConditionalGeneration,
    Lfm2Config,
    Lfm2VlConfig,
    Lfm2VlForConditionalGeneration,
    LlamaConfig,
    LlamaForCausalLM,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaNextConfig,
    LlavaNextForConditionalGeneration,
    MistralConfig,
    MistralForCausalLM,
    PaliGemmaConfig,
    PaliGemmaForConditionalGeneration,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    SmolVLMConfig,
    SmolVLMForConditionalGeneration,
)

from align.rendering import Rendered

IMAGE = 3
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


def qwen_prompt(model: Any, number: int) -> Rendered:
    grids = _of_each_image(number, [(4, 4), (8, 4), (4, 12)])
    images = [(4, *[IMAGE] * (height * width // 4), 5) for height, width in grids]
    input_ids = (1, 10 + number, *chain(*images), 20, 30 + number)
    tensors = {
        "pixel_values": torch.randn(sum(height * width for height, width in grids), 3 * 2 * 14 * 14),
        "image_grid_thw": torch.tensor([[1, *grid] for grid in grids]),
        "mm_token_type_ids": torch.tensor([[int(token_id == IMAGE) for token_id in input_ids]]),
    }
    return Rendered(input_ids, tensors, _image_ids(number, len(grids)))


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


def idefics_prompt(model: Any, number: int) -> Rendered:
    num_images = 1 + number % 2
    tensors = {
        "pixel_values": torch.randn(1, num_images, 3, 28, 28),
        "pixel_attention_mask": torch.ones(1, num_images, 28, 28, dtype=torch.long),
    }
    input_ids = (1, 10 + number, *[IMAGE] * 4 * num_images, 20, 30 + number)
    return Rendered(input_ids, tensors, _image_ids(number, num_images))


def smolvlm() -> Any:
    return SmolVLMForConditionalGeneration(
        SmolVLMConfig(
            text_config=LlamaConfig(**TEXT, tie_word_embeddings=False),
            vision_config=VISION,
            scale_factor=2,
            image_token_id=IMAGE,
            pad_token_id=0,
            tie_word_embeddings=False,
        )
    )


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


def gemma_prompt(model: Any, number: int) -> Rendered:
    num_images = 1 + number % 2
    input_ids = (1, 10 + number, *[4, IMAGE, IMAGE, IMAGE, IMAGE, 5] * num_images, 20, 30 + number)
    tensors = {
        "pixel_values": torch.randn(num_images, 3, 28, 28),
        "token_type_ids": torch.tensor([[int(token_id == IMAGE) for token_id in input_ids]]),
    }
    return Rendered(input_ids, tensors, _image_ids(number, num_images))


def llava() -> Any:
    return LlavaForConditionalGeneration(
        LlavaConfig(
            text_config=LlamaConfig(**TEXT, tie_word_embeddings=False),
            vision_config=CLIPVisionConfig(**VISION, initializer_range=0.3),
            image_token_index=IMAGE,
            image_seq_length=16,
            tie_word_embeddings=False,
        )
    )


def llava_prompt(model: Any, number: int) -> Rendered:
    num_images = 1 + number % 2
    tensors = {"pixel_values": torch.randn(num_images, 3, 28, 28)}
    input_ids = (1, 10 + number, *[IMAGE] * 16 * num_images, 20, 30 + number)
    return Rendered(input_ids, tensors, _image_ids(number, num_images))


def llava_next() -> Any:
    """An image is cut into tiles, as many as its shape asks for."""
    return LlavaNextForConditionalGeneration(
        LlavaNextConfig(
            text_config=LlamaConfig(**TEXT, tie_word_embeddings=False),
            vision_config=CLIPVisionConfig(**{**VISION, "patch_size": 14}, initializer_range=0.3),
            image_grid_pinpoints=[[28, 56], [56, 28], [56, 56]],
            image_token_index=IMAGE,
            tie_word_embeddings=False,
        )
    )


def llava_next_prompt(model: Any, number: int) -> Rendered:
    sizes = _of_each_image(number, [(28, 56), (56, 28), (56, 56)])
    num_tiles = [1 + height * width // 28**2 for height, width in sizes]
    pixel_values = torch.randn(len(sizes), max(num_tiles), 3, 28, 28)
    for image, count in zip(pixel_values, num_tiles, strict=True):
        image[count:] = 0.0  # as the processor pads
    tensors = {"pixel_values": pixel_values, "image_sizes": torch.tensor(sizes)}
    with torch.no_grad():
        features = model.get_image_features(**tensors, return_dict=True).pooler_output
    images = [(*[IMAGE] * len(one), 21) for one in features]
    input_ids = (1, 10 + number, *chain(*images), 30 + number)
    return Rendered(input_ids, tensors, _image_ids(number, len(sizes)))


def _of_each_image(number: int, shapes: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """One image or two, of different shapes."""
    return [shapes[(number + index) % len(shapes)] for index in range(1 + number % 2)]


def _image_ids(number: int, num_images: int) -> tuple[str, ...]:
    return tuple(f"{number}-{index}" for index in range(num_images))


@dataclass(frozen=True)
class Architecture:
    make_model: Callable[[], Any]
    make_prompt: Callable[[Any, int], Rendered]
    """Prompts of different numbers differ in length or in their images' shapes."""

    def model(self) -> Any:
        torch.manual_seed(0)
        model = self.make_model().eval()
        model.generation_config = GenerationConfig(eos_token_id=2, pad_token_id=0)
        return model


ARCHITECTURES = {
    "llava": Architecture(llava, llava_prompt),
    "llava_next": Architecture(llava_next, llava_next_prompt),
    "qwen2_5_vl": Architecture(qwen, qwen_prompt),
    "idefics3": Architecture(idefics, idefics_prompt),
    "smolvlm": Architecture(smolvlm, idefics_prompt),
    "gemma3": Architecture(gemma, gemma_prompt),
}


def llama() -> Any:
    """No images at all."""
    return LlamaForCausalLM(LlamaConfig(**TEXT, tie_word_embeddings=False))


def mistral() -> Any:
    """All layers look through a sliding window."""
    text = {**TEXT, "sliding_window": 16, "head_dim": 16, "tie_word_embeddings": False}
    return MistralForCausalLM(MistralConfig(**text))


def text_prompt(model: Any, number: int) -> Rendered:
    """Words alone, of different lengths, for any of these models."""
    return Rendered((1, 10 + number, *range(40, 44 + 5 * number), 30 + number), {})


def recurrent() -> Any:
    """LFM2: most layers are convolutions over the sequence, which no mask can part."""
    text = {name: value for name, value in TEXT.items() if name != "max_position_embeddings"}
    return Lfm2VlForConditionalGeneration(
        Lfm2VlConfig(
            text_config=Lfm2Config(**text, layer_types=["conv", "full_attention"], tie_word_embeddings=False),
            vision_config={"model_type": "siglip2_vision_model", **VISION, "num_patches": 16},
            image_token_id=IMAGE,
            downsample_factor=2,
            tie_word_embeddings=False,
        )
    )


def recurrent_prompt(model: Any, number: int) -> Rendered:
    return Rendered((1, 10 + number, 20, 30 + number), {})


def paligemma() -> Any:
    """The whole prompt sees itself both ways, and the answer only what came before."""
    text = {"model_type": "gemma", **TEXT, "head_dim": 16}
    return PaliGemmaForConditionalGeneration(
        PaliGemmaConfig(
            text_config=text,
            vision_config={**VISION, "model_type": "siglip_vision_model"},
            image_token_index=IMAGE,
            projection_dim=64,
            hidden_size=64,
        )
    )


def paligemma_prompt(model: Any, number: int) -> Rendered:
    input_ids = (*[IMAGE] * 16, 1, 10 + number, 20, 30 + number)
    tensors = {
        "pixel_values": torch.randn(1, 3, 28, 28),
        "token_type_ids": torch.zeros(1, len(input_ids), dtype=torch.long),
    }
    return Rendered(input_ids, tensors, _image_ids(number, 1))
