"""Models and corrections of two sizes to train on: the embedded model, and a narrow LLaVA whose prompts and vocabulary
are as long as a large one's. Knows nothing of trainers.
"""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image as Picture
from transformers import (
    AutoTokenizer,
    CLIPImageProcessorPil,
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
)

from align.conversation import Conversation, Image, Message, Text
from align.examples import Example
from align.scenes import MODEL_PATH
from align.spans import apply_spans, diff_spans

from .scenes import simulated_corrections

SHAPES = ("embedded", "llava")
NUM_WORDS = 100
NUM_EDITS = 3
"""Of an answer: RLHF-V's corrections hold 2.65 changed segments (arXiv 2312.00849, 4.1)."""


def prepare(shape: str, num_pairs: int, folder: Path) -> tuple[str, list[Example]]:
    """The folder of a model, and corrections of its answers."""
    if shape == "embedded":
        return str(MODEL_PATH), [example for example, _ in simulated_corrections(str(MODEL_PATH), num_pairs)]
    return str(narrow_llava(folder)), [_correction(number) for number in range(num_pairs)]


def narrow_llava(folder: Path) -> Path:
    """576 image tokens and a vocabulary of 32,000 as LLaVA-1.5 has, and 1/16 of its width. Random weights."""
    tokenizer: Any = AutoTokenizer.from_pretrained(MODEL_PATH)
    end = tokenizer.eos_token_id
    text = LlamaConfig(
        vocab_size=32_000,
        hidden_size=256,
        intermediate_size=688,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=2048,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=end,
        pad_token_id=tokenizer.pad_token_id,
        tie_word_embeddings=False,
    )
    vision = CLIPVisionConfig(
        hidden_size=128,
        intermediate_size=512,
        num_hidden_layers=4,
        num_attention_heads=2,
        image_size=336,
        patch_size=14,
        projection_dim=128,
    )
    torch.manual_seed(0)
    model = LlavaForConditionalGeneration(
        LlavaConfig(
            vision_config=vision,
            text_config=text,
            image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
            image_seq_length=576,
            vision_feature_layer=-1,
            eos_token_id=end,
            pad_token_id=tokenizer.pad_token_id,
            tie_word_embeddings=False,
        )
    )
    model.generation_config.eos_token_id = end
    processor = LlavaProcessor(
        image_processor=CLIPImageProcessorPil(
            size={"shortest_edge": 336}, crop_size={"height": 336, "width": 336}
        ),
        tokenizer=tokenizer,
        patch_size=14,
        vision_feature_select_strategy="default",
        chat_template=tokenizer.chat_template or (MODEL_PATH / "chat_template.jinja").read_text(),
        num_additional_image_tokens=1,
    )
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def _correction(number: int) -> Example:
    """An answer of a hundred words with three of them corrected, about an image of noise."""
    generator = np.random.default_rng(number)
    tokenizer: Any = AutoTokenizer.from_pretrained(MODEL_PATH)
    words = sorted(word[1:] for word in tokenizer.get_vocab() if word[:1] == "Ġ" and word[1:].isalpha())
    served = [words[index] for index in generator.integers(len(words), size=NUM_WORDS)]
    corrected = list(served)
    for place in generator.choice(NUM_WORDS, NUM_EDITS, replace=False):
        corrected[place] = words[(words.index(served[place]) + 1) % len(words)]
    text, better = " ".join(served), " ".join(corrected)
    spans = tuple(diff_spans(text, better))
    assert apply_spans(text, spans) == better
    buffer = io.BytesIO()
    noise = generator.integers(256, size=(336, 336, 3), dtype=np.uint8)
    Picture.fromarray(noise).save(buffer, format="PNG")
    encoded = buffer.getvalue()
    sha256 = hashlib.sha256(encoded).hexdigest()
    return Example(
        id=str(number),
        conversation=Conversation((Message("user", (Image(sha256), Text("Describe the image."))),)),
        images={sha256: encoded},
        served_text=text,
        served_token_ids=(*tokenizer.encode(text, add_special_tokens=False), tokenizer.eos_token_id),
        corrected_text=better,
        spans=spans,
    )
