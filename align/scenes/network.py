"""The model's shape: a LLaVA of about three million parameters. Knows nothing about data or training."""

from __future__ import annotations

from typing import Any

from .draw import IMAGE_SIZE
from .tokenizer import IMAGE, MAX_LENGTH, NUM_IMAGE_TOKENS, PATCH_SIZE


def build_network(tokenizer: Any) -> Any:
    """A `LlavaForConditionalGeneration` with random weights, in fp32."""
    from transformers import (
        CLIPVisionConfig,
        GenerationConfig,
        LlamaConfig,
        LlavaConfig,
        LlavaForConditionalGeneration,
    )

    ids = {
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
    }
    vision = CLIPVisionConfig(
        hidden_size=128,
        intermediate_size=512,
        num_hidden_layers=4,
        num_attention_heads=2,
        image_size=IMAGE_SIZE,
        patch_size=PATCH_SIZE,
        projection_dim=128,
    )
    language = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=192,
        intermediate_size=528,
        num_hidden_layers=4,
        num_attention_heads=3,
        num_key_value_heads=3,
        max_position_embeddings=MAX_LENGTH,
        tie_word_embeddings=True,
        **ids,
    )
    config = LlavaConfig(
        vision_config=vision,
        text_config=language,
        image_token_index=tokenizer.convert_tokens_to_ids(IMAGE),
        image_seq_length=NUM_IMAGE_TOKENS,
        vision_feature_layer=-1,
        vision_feature_select_strategy="default",
        tie_word_embeddings=True,
        **ids,
    )
    network = LlavaForConditionalGeneration(config)
    network.generation_config = GenerationConfig(do_sample=False, max_new_tokens=128, **ids)
    return network
