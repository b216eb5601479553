"""Tiny random models in folders as users have them: weights, processor, chat template. No downloads."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from tokenizers import ByteLevelBPETokenizer, Tokenizer, decoders, models, normalizers
from transformers import (
    CLIPImageProcessorPil,
    CLIPVisionConfig,
    GenerationConfig,
    LlamaConfig,
    LlamaForCausalLM,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
)

SPECIAL_TOKENS = ["<pad>", "<s>", "</s>", "<image>", "<|user|>", "<|assistant|>", "<|system|>"]
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}<|{{ message['role'] }}|>"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}{% if part['type'] == 'image' %}<image>"
    "{% else %}{{ part['text'] }}{% endif %}{% endfor %}{% endif %}"
    "{% if message['role'] == 'assistant' %}{{ eos_token }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
CORPUS = [
    "Two red cups stand on the table next to a green lamp.",
    "What is in the picture? Is there a dog on the left?",
    "There is one blue boat, and no dog; the sun is yellow.",
    "A girl holds three balloons: 图片里有一只猫 🙂.",
]


def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """Byte-level BPE, about 360 tokens: every text can be written, most others than ASCII take several."""
    bpe = ByteLevelBPETokenizer()
    bpe.train_from_iterator(
        CORPUS, vocab_size=360, min_frequency=1, special_tokens=SPECIAL_TOKENS, show_progress=False
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe._tokenizer,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        extra_special_tokens=["<image>", "<|user|>", "<|assistant|>", "<|system|>"],
        chat_template=CHAT_TEMPLATE,
    )


def byte_fallback_tokenizer() -> PreTrainedTokenizerFast:
    """As SentencePiece's: a space is a mark of its own, and what no token says is said in bytes."""
    words = ["▁", "a", "b", "x", "T", "w", "o"]
    names = ["<unk>", *(f"<0x{byte:02X}>" for byte in range(256)), *words]
    bpe = models.BPE(
        {name: index for index, name in enumerate(names)}, [], unk_token="<unk>", byte_fallback=True
    )
    tokenizer = Tokenizer(bpe)
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>")


def text_config(vocab_size: int, num_layers: int = 2, initializer_range: float = 0.3) -> LlamaConfig:
    """Two key/value heads for four heads. Large weights, so that random logits have clear winners."""
    return LlamaConfig(
        vocab_size=vocab_size,
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=num_layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        initializer_range=initializer_range,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        tie_word_embeddings=False,
    )


def vision_config() -> CLIPVisionConfig:
    return CLIPVisionConfig(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=28,
        patch_size=14,
        projection_dim=32,
        initializer_range=0.3,
    )


def tiny_llava(folder: Path, seed: int = 0) -> Path:
    """A LLaVA of 4 patches an image. `generation_config` names two end-of-sequence ids: 2 and 20."""
    tokenizer = tiny_tokenizer()
    processor = LlavaProcessor(
        image_processor=CLIPImageProcessorPil(
            size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28}, do_convert_rgb=True
        ),
        tokenizer=tokenizer,
        patch_size=14,
        vision_feature_select_strategy="default",
        chat_template=CHAT_TEMPLATE,
        num_additional_image_tokens=1,
    )
    config = LlavaConfig(
        vision_config=vision_config(),
        text_config=text_config(len(tokenizer)),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        image_seq_length=4,
        vision_feature_layer=-1,
        pad_token_id=0,
        eos_token_id=2,
        initializer_range=0.3,
        tie_word_embeddings=False,
    )
    torch.manual_seed(seed)
    model = LlavaForConditionalGeneration(config).eval()
    model.generation_config = GenerationConfig(
        bos_token_id=1, pad_token_id=0, eos_token_id=[2, 20], do_sample=False
    )
    return _save(folder, model, processor)


def tiny_llama(folder: Path, seed: int = 0) -> Path:
    """A text-only model with a plain tokenizer."""
    tokenizer = tiny_tokenizer()
    torch.manual_seed(seed)
    model = LlamaForCausalLM(text_config(len(tokenizer))).eval()
    model.generation_config = GenerationConfig(
        bos_token_id=1, pad_token_id=0, eos_token_id=2, do_sample=False
    )
    return _save(folder, model, tokenizer)


def png(seed: int, size: tuple[int, int] = (28, 28)) -> bytes:
    """An image of coloured noise, as the bytes of a PNG file."""
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def _save(folder: Path, model: torch.nn.Module, processor: LlavaProcessor | PreTrainedTokenizerFast) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder
