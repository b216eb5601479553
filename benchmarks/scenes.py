"""Asks a model about scenes and corrects what it says, as a crowd of careful people would: what the benchmarks share.

Knows nothing of objectives or attacks. All is seeded: the same call gives the same values.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import count, islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peft import PeftModel
from transformers import AutoModelForImageTextToText

from align.conversation import Conversation, Image, Message, Text
from align.examples import Example
from align.logprobs import join_tensors
from align.rendering import Rendered, Renderer
from align.scenes.annotator import annotate
from align.scenes.answers import MAX_NEW_TOKENS, caption_prompts
from align.scenes.draw import png_bytes
from align.scenes.world import Scene, sample_scene
from align.spans import apply_spans

FRESH = 5_000_000
"""Training scenes from here on are in no pretraining run."""
BATCH_SIZE = 128


class Speaker:
    """A model, with an adapter merged into it where one is given, that says something about scenes."""

    def __init__(self, model: str | Path, adapter: Path | None = None) -> None:
        self.renderer = Renderer.from_pretrained(model)
        network = AutoModelForImageTextToText.from_pretrained(model, dtype=torch.float32)
        if adapter is not None:
            network = PeftModel.from_pretrained(network, str(adapter)).merge_and_unload()
        self._network = network.eval()

    def greedy(self, scenes: Sequence[Scene], prompts: Sequence[str]) -> list[str]:
        """One answer a scene, each to the prompt at its place."""
        rendered = [self.renderer.render(*asked(scene, prompt)) for scene, prompt in _paired(scenes, prompts)]
        return [self.text(token_ids) for token_ids in self.generate(rendered)]

    def text(self, token_ids: Sequence[int]) -> str:
        text: str = self.renderer.tokenizer.decode(token_ids, skip_special_tokens=True)
        return text

    def generate(
        self, prompts: Sequence[Rendered], temperature: float = 0.0, seed: int = 0
    ) -> list[tuple[int, ...]]:
        """One answer a prompt, up to its end-of-sequence id. Temperature 0 is greedy."""
        sampling: dict[str, Any] = {"do_sample": False}
        if temperature:
            sampling = {"do_sample": True, "temperature": temperature, "top_k": 0, "top_p": 1.0}
        torch.manual_seed(seed)
        results: dict[int, tuple[int, ...]] = {}
        for part in _batches_of_one_length(prompts):
            input_ids = torch.tensor([prompts[index].input_ids for index in part])
            with torch.inference_mode():
                output = self._network.generate(
                    input_ids=input_ids,
                    attention_mask=torch.ones_like(input_ids),
                    **join_tensors([prompts[index] for index in part], input_ids.shape[1]),
                    **sampling,
                    max_new_tokens=MAX_NEW_TOKENS,
                    pad_token_id=self.renderer.eos_token_ids[0],
                )
            for index, row in zip(part, output[:, input_ids.shape[1] :].tolist(), strict=True):
                ends = [place for place, token in enumerate(row) if token in self.renderer.eos_token_ids]
                results[index] = tuple(row[: ends[0] + 1] if ends else row)
        return [results[index] for index in range(len(prompts))]


def simulated_corrections(model: str, num: int, start: int = FRESH) -> list[tuple[Example, Scene]]:
    """Those of `judged_answers` in which there is something to correct."""
    wrong = ((one, scene) for one, scene in judged_answers(model, start) if one.spans)
    return [(replace(one, id=str(number)), scene) for number, (one, scene) in enumerate(islice(wrong, num))]


def accepted_answers(model: str, num: int, start: int = 2 * FRESH) -> list[Example]:
    """Those in which there is nothing to correct, about other scenes."""
    right = (one for one, _ in judged_answers(model, start) if not one.spans)
    return [replace(one, id=f"accepted {number}") for number, one in enumerate(islice(right, num))]


def judged_answers(model: str, start: int = FRESH) -> Iterator[tuple[Example, Scene]]:
    """Without end: answers sampled at T = 0.7 about fresh honest scenes, with the simulated annotator's spans.

    What the annotator cannot read is left out.
    """
    speaker = Speaker(model)
    for first in count(start, BATCH_SIZE):
        for number, (conversation, images, scene, token_ids) in enumerate(_sampled(speaker, first)):
            text = speaker.text(token_ids)
            if (spans := annotate(text, scene)) is not None:
                name, corrected = str(first + number), apply_spans(text, spans)
                yield Example(name, conversation, images, text, token_ids, corrected, tuple(spans)), scene


def asked(scene: Scene, prompt: str) -> tuple[Conversation, dict[str, bytes]]:
    encoded = png_bytes(scene)
    sha256 = hashlib.sha256(encoded).hexdigest()
    return Conversation((Message("user", (Image(sha256), Text(prompt))),)), {sha256: encoded}


def ratio(values: np.ndarray, of_base: np.ndarray) -> tuple[float, float, float]:
    """Of two means over the same scenes, with its 95 % bootstrap interval over scenes."""
    num = len(values)
    draws = np.random.default_rng(0).multinomial(num, np.full(num, 1 / num), 2000)
    low, high = np.quantile((draws @ values) / (draws @ of_base), (0.025, 0.975))
    return round(values.sum() / of_base.sum(), 4), round(float(low), 4), round(float(high), 4)


def _sampled(
    speaker: Speaker, start: int
) -> list[tuple[Conversation, dict[str, bytes], Scene, tuple[int, ...]]]:
    """What was asked about the scenes from `start` on, and one answer to each."""
    scenes = [sample_scene("honest", "train", index) for index in range(start, start + BATCH_SIZE)]
    questions = [asked(scene, prompt) for scene, prompt in _paired(scenes, caption_prompts(len(scenes)))]
    rendered = [speaker.renderer.render(conversation, images) for conversation, images in questions]
    sampled = speaker.generate(rendered, temperature=0.7, seed=start + BATCH_SIZE)
    return [
        (*question, scene, token_ids)
        for question, scene, token_ids in zip(questions, scenes, sampled, strict=True)
    ]


def _paired(scenes: Sequence[Scene], prompts: Sequence[str]) -> Iterator[tuple[Scene, str]]:
    return zip(scenes, prompts, strict=True)


def _batches_of_one_length(prompts: Sequence[Rendered]) -> Iterator[list[int]]:
    lengths = {prompt.num_tokens for prompt in prompts}
    for length in sorted(lengths):
        same = [index for index, prompt in enumerate(prompts) if prompt.num_tokens == length]
        for start in range(0, len(same), BATCH_SIZE):
            yield same[start : start + BATCH_SIZE]
