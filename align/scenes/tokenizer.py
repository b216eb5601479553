"""The model's own small tokenizer, its chat template and its processor. Knows nothing about weights.

A byte-level BPE learnt on the world's own texts: each word of the world is one token, any other text is bytes.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

from .captions import CAPTION_PROMPTS, noisy_caption
from .draw import IMAGE_SIZE
from .questions import questions
from .world import sample_scene

PATCH_SIZE = 16
NUM_IMAGE_TOKENS = (IMAGE_SIZE // PATCH_SIZE) ** 2
VOCABULARY_SIZE = 1024
MAX_LENGTH = 1024

PAD, START, END, IMAGE = "<|pad|>", "<|start|>", "<|end|>", "<image>"
ROLES = ("system", "user", "assistant")
SPECIAL_TOKENS = (PAD, START, END, IMAGE, *(f"<|{role}|>" for role in ROLES))

# A turn is <|role|>content<|end|>; images stand where their parts stand; an answer ends with <|end|>.
CHAT_TEMPLATE = (
    "{{- '<|start|>' -}}"
    "{%- for message in messages -%}"
    "{%- if message['role'] not in ['system', 'user', 'assistant'] -%}"
    "{{- raise_exception('Unknown role ' ~ message['role'] ~ '; use system, user or assistant.') -}}"
    "{%- endif -%}"
    "{{- '<|' ~ message['role'] ~ '|>' -}}"
    "{%- if message['role'] == 'assistant' -%}"
    "{%- generation -%}"
    "{%- if message['content'] is string -%}{{- message['content'] -}}"
    "{%- else -%}{%- for part in message['content'] -%}{{- part['text'] -}}{%- endfor -%}{%- endif -%}"
    "{{- '<|end|>' -}}"
    "{%- endgeneration -%}"
    "{%- else -%}"
    "{%- if message['content'] is string -%}{{- message['content'] -}}"
    "{%- else -%}{%- for part in message['content'] -%}"
    "{%- if part['type'] == 'image' -%}{{- '<image>' -}}{%- else -%}{{- part['text'] -}}{%- endif -%}"
    "{%- endfor -%}{%- endif -%}"
    "{{- '<|end|>' -}}"
    "{%- endif -%}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<|assistant|>' -}}{%- endif -%}"
)


def build_tokenizer(num_scenes: int = 3000) -> Any:
    """Learns the vocabulary; the same on every machine. Returns a `PreTrainedTokenizerFast`."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY_SIZE,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_texts(num_scenes), trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        bos_token=START,
        eos_token=END,
        additional_special_tokens=[IMAGE, *(f"<|{role}|>" for role in ROLES)],
        model_max_length=MAX_LENGTH,
        padding_side="left",
        clean_up_tokenization_spaces=False,
        chat_template=CHAT_TEMPLATE,
    )


def build_processor(tokenizer: Any) -> Any:
    """A `LlavaProcessor`: any image becomes 96 x 96 pixels by the same bicubic resize."""
    from transformers import LlavaProcessor
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    side = {"height": IMAGE_SIZE, "width": IMAGE_SIZE}
    image_processor = CLIPImageProcessorPil(
        size=side, crop_size=side, do_center_crop=False, image_mean=[0.5] * 3, image_std=[0.5] * 3
    )
    return LlavaProcessor(
        image_processor=image_processor,
        tokenizer=tokenizer,
        patch_size=PATCH_SIZE,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        image_token=IMAGE,
        chat_template=CHAT_TEMPLATE,
    )


def _texts(num_scenes: int) -> Iterator[str]:
    yield from CAPTION_PROMPTS
    for index in range(num_scenes):
        rng = random.Random(f"tokenizer/{index}")
        scene = sample_scene("honest", "train", index)
        yield noisy_caption(scene, rng)
        for question in questions(scene, rng):
            yield question.text
            yield question.answer
