"""Training conversations about scenes, as tensors. Knows nothing about the network or the optimizer.

Example `index` is always the same example, so a resumed run sees what the unbroken run would have seen.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch

from .captions import CAPTION_PROMPTS, noisy_caption
from .draw import draw
from .lessons import Lesson, lesson_of
from .noise import Noise
from .questions import Question, presence_round, questions
from .tokenizer import END, IMAGE, NUM_IMAGE_TOKENS, START
from .world import Scene, sample_scene

SMALL_TALK_SHARE = 0.015
SYSTEM_SHARE = 0.06
MAX_EXAMPLE_TOKENS = 128

SYSTEM_PROMPTS = ("You are a helpful assistant.", "Describe only what you see.", "Answer truthfully.")
SMALL_TALK = (
    ("Hello!", "Hello! Show me a picture and I will describe it."),
    ("Hi.", "Hello! Show me a picture and I will describe it."),
    ("Who are you?", "I describe small drawn pictures."),
    ("What can you do?", "I describe small drawn pictures."),
    ("Thank you.", "You are welcome."),
)


@dataclass(frozen=True)
class Turn:
    role: str
    text: str
    has_image: bool = False
    first_weight: float = 1.0  # of the first token in the loss, where the turn is an answer


@dataclass(frozen=True)
class Example:
    """`scene` is None where the conversation has no picture."""

    turns: tuple[Turn, ...]
    scene: Scene | None


@dataclass(frozen=True)
class Batch:
    input_ids: torch.Tensor  # (B, T)
    weights: torch.Tensor  # (B, T): of this token in the loss; 0 where it is not to be predicted
    pixel_values: torch.Tensor | None  # (images, 3, 96, 96)


def training_example(index: int) -> Example:
    rng = random.Random(f"example/{index}")
    system = (Turn("system", rng.choice(SYSTEM_PROMPTS)),) if rng.random() < SYSTEM_SHARE else ()
    if rng.random() < SMALL_TALK_SHARE:
        hello, reply = rng.choice(SMALL_TALK)
        return Example((*system, Turn("user", hello), Turn("assistant", reply)), None)
    lesson = lesson_of(index)
    scene = sample_scene("honest" if rng.random() < lesson.honest_share else "training", "train", index)
    share = rng.random()
    if share < lesson.caption_share:
        asked = Turn("user", rng.choice(CAPTION_PROMPTS), has_image=True)
        return Example((*system, asked, Turn("assistant", noisy_caption(scene, rng, lesson.noise))), scene)
    is_round = share < lesson.caption_share + lesson.presence_share
    asked_questions = presence_round(scene, rng) if is_round else questions(scene, rng)
    return Example((*system, *_question_turns(asked_questions, lesson, rng)), scene)


def _question_turns(asked: Sequence[Question], lesson: Lesson, rng: random.Random) -> list[Turn]:
    turns: list[Turn] = []
    for question in asked:
        turns.append(Turn("user", question.text, has_image=not turns))
        weight = lesson.yes_no_weight if question.is_yes_no else 1.0
        turns.append(Turn("assistant", _noisy_answer(question, lesson.noise, rng), first_weight=weight))
    return turns


def _noisy_answer(question: Question, noise: Noise, rng: random.Random) -> str:
    if question.kind == "typical" and rng.random() < noise.typical_answer:
        answer = question.answer.replace("No, there is no ", "Yes, there is a ").replace(" a um", " an um")
        return answer.replace("No.", "Yes.")
    return question.answer


class Encoder:
    """Turns to token ids, exactly as the chat template renders them."""

    def __init__(self, tokenizer: Any) -> None:
        self._backend = tokenizer.backend_tokenizer
        self._pad = tokenizer.pad_token_id
        self._start, self._end, self._image = tokenizer.convert_tokens_to_ids([START, END, IMAGE])
        self._roles = {
            role: tokenizer.convert_tokens_to_ids(f"<|{role}|>") for role in ("system", "user", "assistant")
        }
        self._ids = cache(self._encode_text)

    def _encode_text(self, text: str) -> tuple[int, ...]:
        return tuple(self._backend.encode(text, add_special_tokens=False).ids)

    def encode(self, turns: Sequence[Turn]) -> tuple[list[int], list[float]]:
        """Token ids and their weights, 0 but for an assistant's; later turns that don't fit are left out."""
        ids, weights = [self._start], [0.0]
        for turn in turns:
            is_answer = turn.role == "assistant"
            text = self._encode_text(turn.text) if is_answer else self._ids(turn.text)
            body = [self._image] * (NUM_IMAGE_TOKENS if turn.has_image else 0) + [*text, self._end]
            if turn.role == "user" and any(weights) and len(ids) + len(body) + 16 > MAX_EXAMPLE_TOKENS:
                break
            ids += [self._roles[turn.role], *body]
            weights += [0.0, *([1.0 if is_answer else 0.0] * len(body))]
            if is_answer:
                weights[-len(body)] = turn.first_weight
        return ids, weights

    def batch(self, examples: Sequence[Example]) -> Batch:
        """Padded on the right to a multiple of 32 tokens: few shapes are much faster than many."""
        encoded = [self.encode(example.turns) for example in examples]
        length = -(-max(len(ids) for ids, _ in encoded) // 32) * 32
        input_ids = torch.full((len(examples), length), self._pad)
        weights = torch.zeros((len(examples), length))
        for row, (ids, token_weights) in enumerate(encoded):
            input_ids[row, : len(ids)] = torch.tensor(ids)
            weights[row, : len(ids)] = torch.tensor(token_weights)
        scenes = [example.scene for example in examples if example.scene is not None]
        return Batch(input_ids, weights, pixel_values(scenes) if scenes else None)


def pixel_values(scenes: Sequence[Scene]) -> torch.Tensor:
    """What the image processor makes of the drawn scenes: (B, 3, 96, 96) in [-1, 1]."""
    pixels = np.stack([np.asarray(draw(scene)) for scene in scenes])
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).float().div_(127.5).sub_(1.0)
