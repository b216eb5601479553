"""Asks a model about scenes, in batches. Knows nothing about what a right answer is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .captions import CAPTION_PROMPTS
from .draw import draw
from .world import Scene

MAX_NEW_TOKENS = 96


def load_model(model: str | Path, adapter: str | Path | None = None) -> tuple[Any, Any]:
    """The model in fp32, with a PEFT adapter on it where one is given, and its processor."""
    import torch
    from transformers import AutoModelForImageTextToText, AutoProcessor

    network = AutoModelForImageTextToText.from_pretrained(model, dtype=torch.float32)
    if adapter is not None:
        from peft import PeftModel

        network = PeftModel.from_pretrained(network, str(adapter))
    return network.eval(), AutoProcessor.from_pretrained(model)


def caption_prompts(num: int) -> list[str]:
    """A description is asked for in all the ways in turn."""
    return [CAPTION_PROMPTS[index % len(CAPTION_PROMPTS)] for index in range(num)]


def answers(
    network: Any,
    processor: Any,
    prompts: Sequence[str],
    scenes: Sequence[Scene],
    *,
    temperature: float = 0.0,
    max_new_tokens: int = MAX_NEW_TOKENS,
    batch_size: int = 64,
    seed: int = 0,
) -> list[str]:
    """One answer a prompt. Temperature 0 is greedy; above it, pure sampling from this seed."""
    import torch

    sampling: dict[str, Any] = {"do_sample": False}
    if temperature > 0:
        sampling = {"do_sample": True, "temperature": temperature, "top_k": 0, "top_p": 1.0}
    torch.manual_seed(seed)
    texts: list[str] = []
    for start in range(0, len(prompts), batch_size):
        inputs = _inputs(
            processor, prompts[start : start + batch_size], scenes[start : start + batch_size]
        ).to(network.device)
        with torch.inference_mode():
            tokens = network.generate(**inputs, **sampling, max_new_tokens=max_new_tokens)
        texts += processor.batch_decode(tokens[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    return texts


def _inputs(processor: Any, prompts: Sequence[str], scenes: Sequence[Scene]) -> Any:
    conversations = [
        [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": prompt}]}]
        for prompt in prompts
    ]
    return processor(
        text=processor.apply_chat_template(conversations, add_generation_prompt=True),
        images=[draw(scene) for scene in scenes],
        padding=True,
        return_tensors="pt",
    )
