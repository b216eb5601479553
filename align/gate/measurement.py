"""Two adapters on the same items: how likely they hold the corrected answer, and what they say themselves.

Greedy decoding and teacher forcing only, so that a measurement can be repeated. Decides nothing: see gate.py.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from transformers import AutoModelForImageTextToText

from ..adapter import load_adapter
from ..config import GateConfig, ObjectiveConfig
from ..errors import InvalidConversation, InvalidImage, UnfitPair
from ..examples import Example
from ..logprobs import answer_logps, collate, join_tensors
from ..objective import anchor_loss, answer_score
from ..pairs import Answer, Pair, make_pair
from ..rendering import Rendered, Renderer
from ..spans import ordered
from .measured import ItemMeasurement, Measured

T = TypeVar("T")


@dataclass(frozen=True)
class Item:
    """One example, ready for the model. Uncorrected answers have no pair, only the served answer."""

    example: Example
    prompt: Rendered
    chosen: Answer
    rejected: Answer | None


def measure(
    base: str | Path,
    live: Path | None,
    candidate: Path | None,
    corrected: Sequence[Example],
    uncorrected: Sequence[Example],
    config: GateConfig,
    objective: ObjectiveConfig,
    device: str = "cpu",
) -> tuple[list[ItemMeasurement], list[ItemMeasurement]]:
    """(held-out corrections, uncorrected answers), each measured with both adapters; None is the base itself.

    Examples that the model cannot read or spell are left out. Raises `InvalidAdapter`.
    """
    renderer = Renderer.from_pretrained(base)
    items = [item for example in [*corrected, *uncorrected] if (item := _item(example, renderer))]
    model = AutoModelForImageTextToText.from_pretrained(base, dtype=torch.float32).to(device).eval()
    model = load_adapters(model, {"live": live, "candidate": candidate})
    measured = {
        name: _measure_all(model, name if folder else None, items, renderer, config, objective)
        for name, folder in (("live", live), ("candidate", candidate))
    }
    paired = [
        (item, ItemMeasurement(item.example.id, item.example.group, of_live, of_candidate))
        for item, of_live, of_candidate in zip(items, measured["live"], measured["candidate"], strict=True)
    ]
    return [p for item, p in paired if item.rejected], [p for item, p in paired if not item.rejected]


def load_adapters(model: Any, folders: dict[str, Path | None]) -> Any:
    for name, folder in folders.items():
        if folder is not None:
            model = load_adapter(model, folder, name)
    return model.eval()


def greedy_answers(
    model: Any, prompts: Sequence[Rendered], renderer: Renderer, max_new_tokens: int
) -> list[str]:
    """What the model says to each prompt, at most `max_new_tokens` long; one batch."""
    length = max(len(prompt.input_ids) for prompt in prompts)
    input_ids = torch.zeros(len(prompts), length, dtype=torch.long)
    attention = torch.zeros_like(input_ids)
    for row, prompt in enumerate(prompts):
        input_ids[row, length - len(prompt.input_ids) :] = torch.tensor(prompt.input_ids)
        attention[row, length - len(prompt.input_ids) :] = 1
    inputs = {
        **join_tensors(prompts, length, pad_left=True),
        "input_ids": input_ids,
        "attention_mask": attention,
    }
    generated = model.generate(
        **{name: tensor.to(model.device) for name, tensor in inputs.items()},
        do_sample=False,
        max_new_tokens=max_new_tokens,
        eos_token_id=list(renderer.eos_token_ids),
        pad_token_id=renderer.eos_token_ids[0],
    )
    texts: list[str] = renderer.tokenizer.batch_decode(generated[:, length:], skip_special_tokens=True)
    return texts


def undisputed_words(example: Example) -> set[str]:
    """The distinct words of the served answer that nobody changed."""
    kept, position = [], 0
    for span in ordered(example.served_text, example.spans):
        kept.append(example.served_text[position : span.start])
        position = span.end
    return set(words(" ".join([*kept, example.served_text[position:]])))


def coverage(answer: str, undisputed: set[str]) -> float:
    """Share of the undisputed words that the answer contains; 1 if there are none.

    The person left these words as they were, so they are true as far as anybody knows, and an answer that drops
    them tells less. Words count once: else "the" and "a" would outweigh the things named. The share is below 1 for
    every model, since a greedy answer words things otherwise than the served one; only its change has a meaning.
    """
    return len(undisputed & set(words(answer))) / len(undisputed) if undisputed else 1.0


def is_readable(text: str) -> bool:
    """Neither empty, nor broken bytes, nor stuck: a text whose word triples mostly repeat is no answer."""
    spoken = words(text)
    if not spoken or text.count("\ufffd") * 10 > len(text):
        return False
    triples = Counter(zip(spoken, spoken[1:], spoken[2:], strict=False))
    num_triples = triples.total()
    return num_triples < 12 or len(triples) * 2 >= num_triples


def words(text: str) -> list[str]:
    return re.findall(r"\w+", text.casefold())


def _item(example: Example, renderer: Renderer) -> Item | None:
    try:
        prompt = renderer.render(example.conversation, example.images)
        if not example.spans:
            served = Answer(example.served_token_ids, (False,) * len(example.served_token_ids))
            return Item(example, prompt, served, None) if served.token_ids else None
        pair: Pair = make_pair(example, renderer.tokenizer, renderer.eos_token_ids)
        return Item(example, prompt, pair.chosen, pair.rejected)
    except (UnfitPair, InvalidImage, InvalidConversation):
        return None


@torch.inference_mode()
def _measure_all(
    model: Any,
    adapter: str | None,
    items: Sequence[Item],
    renderer: Renderer,
    config: GateConfig,
    objective: ObjectiveConfig,
) -> list[Measured]:
    with _using(model, adapter):
        likely = _by_length(items, config.batch_size, lambda part: _likelihoods(model, part, objective))
        said = _by_length(items, config.batch_size, lambda part: _answers(model, part, renderer, config))
    return [
        Measured(
            margin=margin,
            chosen_logp=chosen_logp,
            coverage=coverage(answer, undisputed_words(item.example)),
            num_words=len(words(answer)),
            is_readable=is_readable(answer),
        )
        for item, (margin, chosen_logp), answer in zip(items, likely, said, strict=True)
    ]


def _likelihoods(model: Any, items: Sequence[Item], objective: ObjectiveConfig) -> list[tuple[float, float]]:
    """(dense margin, mean log-prob of the chosen answer per token) of each item.

    The margin is always the normalised one, whatever was trained, so that it means the same in every run.
    """
    sides = [item.chosen for item in items] + [item.rejected or item.chosen for item in items]
    batch = collate([item.prompt for item in items] * 2, sides, model.device)
    answers = answer_logps(model, batch)
    scores = answer_score(answers, objective.gamma, normalize=True)
    margins = scores[: len(items)] - scores[len(items) :]
    means = -anchor_loss(answers[: len(items)])
    return list(zip(margins.tolist(), means.tolist(), strict=True))


def _answers(model: Any, items: Sequence[Item], renderer: Renderer, config: GateConfig) -> list[str]:
    """An answer twice as long as the longest served one is degenerate already; no need to wait for its end."""
    longest = max(len(item.example.served_token_ids) for item in items)
    limit = min(config.max_new_tokens, 2 * longest + 8)
    return greedy_answers(model, [item.prompt for item in items], renderer, limit)


def _by_length(
    items: Sequence[Item], batch_size: int, run: Callable[[Sequence[Item]], list[T]]
) -> Iterator[T]:
    """`run` on batches of similar length; the results in the items' own order."""
    order = sorted(range(len(items)), key=lambda number: len(items[number].example.served_token_ids))
    results: dict[int, T] = {}
    for start in range(0, len(order), batch_size):
        part = order[start : start + batch_size]
        results.update(zip(part, run([items[number] for number in part]), strict=True))
    return (results[number] for number in range(len(items)))


def _using(model: Any, adapter: str | None) -> AbstractContextManager[Any]:
    """The base if `adapter` is none, whatever adapters the model has."""
    if adapter is not None:
        model.set_adapter(adapter)
        return nullcontext()
    context: AbstractContextManager[Any] = getattr(model, "disable_adapter", nullcontext)()
    return context
