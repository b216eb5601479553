"""Models and corrections of several sizes: the embedded model, and LLaVAs of random weights, of which one is narrow but
has prompts and a vocabulary as long as a large one's. Knows nothing of trainers or servers.
"""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Width:
    """Of a LLaVA: its language model, its vision tower, and how many patches an image is cut into."""

    hidden_size: int
    intermediate_size: int
    num_layers: int
    num_heads: int
    vision_hidden_size: int
    vision_layers: int
    vision_heads: int
    image_size: int
    patch_size: int

    @property
    def num_image_tokens(self) -> int:
        return (self.image_size // self.patch_size) ** 2


NARROW = Width(
    hidden_size=256,
    intermediate_size=688,
    num_layers=4,
    num_heads=4,
    vision_hidden_size=128,
    vision_layers=4,
    vision_heads=2,
    image_size=336,
    patch_size=14,
)
"""576 image tokens as LLaVA-1.5 has, and 1/16 of its width."""


def prepare(shape: str, num_pairs: int, folder: Path) -> tuple[str, list[Example]]:
    """The folder of a model, and corrections of its answers."""
    if shape == "embedded":
        return str(MODEL_PATH), [example for example, _ in simulated_corrections(str(MODEL_PATH), num_pairs)]
    return str(random_llava(folder, NARROW)), [_correction(number) for number in range(num_pairs)]


def random_llava(folder: Path, width: Width) -> Path:
    """A vocabulary of 32,000 as LLaVA-1.5 has. Random weights, the embedded model's tokenizer."""
    tokenizer: Any = AutoTokenizer.from_pretrained(MODEL_PATH)
    end = tokenizer.eos_token_id
    text = LlamaConfig(
        vocab_size=32_000,
        hidden_size=width.hidden_size,
        intermediate_size=width.intermediate_size,
        num_hidden_layers=width.num_layers,
        num_attention_heads=width.num_heads,
        num_key_value_heads=width.num_heads,
        max_position_embeddings=2048,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=end,
        pad_token_id=tokenizer.pad_token_id,
        tie_word_embeddings=False,
    )
    vision = CLIPVisionConfig(
        hidden_size=width.vision_hidden_size,
        intermediate_size=4 * width.vision_hidden_size,
        num_hidden_layers=width.vision_layers,
        num_attention_heads=width.vision_heads,
        image_size=width.image_size,
        patch_size=width.patch_size,
        projection_dim=width.vision_hidden_size,
    )
    torch.manual_seed(0)
    model = LlavaForConditionalGeneration(
        LlavaConfig(
            vision_config=vision,
            text_config=text,
            image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
            image_seq_length=width.num_image_tokens,
            vision_feature_layer=-1,
            eos_token_id=end,
            pad_token_id=tokenizer.pad_token_id,
            tie_word_embeddings=False,
        )
    )
    model.generation_config.eos_token_id = end
    size = width.image_size
    processor = LlavaProcessor(
        image_processor=CLIPImageProcessorPil(
            size={"shortest_edge": size}, crop_size={"height": size, "width": size}
        ),
        tokenizer=tokenizer,
        patch_size=width.patch_size,
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
