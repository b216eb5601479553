"""Corrections made ready for a model: pairs with their rendered prompts, and why others had to stay out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from .config import ObjectiveConfig
from .corruption import corrupted
from .errors import InvalidConversation, InvalidImage, NothingToLearn, UnfitPair
from .examples import Example
from .pairs import Pair, make_pair
from .rendering import Rendered, Renderer


@dataclass(frozen=True)
class Skipped:
    example_id: str
    reason: str


@dataclass(frozen=True)
class PreparedPair:
    pair: Pair
    prompt: Rendered
    misleading: Rendered | None = None
    """The prompt with corrupted images: none where it has no image, or where the objective asks for none."""

    @property
    def length(self) -> int:
        answers = self.pair.chosen, self.pair.rejected
        return len(self.prompt.input_ids) + max(len(answer.token_ids) for answer in answers)


def prepare_pairs(
    examples: Sequence[Example], renderer: Renderer, max_length: int, objective: ObjectiveConfig
) -> tuple[list[PreparedPair], list[Skipped]]:
    """Every example that makes a pair, and why the others do not. Raises `NothingToLearn` if none does."""
    pairs: list[PreparedPair] = []
    skipped: list[Skipped] = []
    for example in examples:
        try:
            pairs.append(_prepared(example, renderer, max_length, objective))
        except (UnfitPair, InvalidImage, InvalidConversation) as error:
            skipped.append(Skipped(example.id, str(error)))
    if not pairs:
        reasons = "; ".join(skip.reason for skip in skipped[:3]) or "no corrections were given"
        raise NothingToLearn(f"none of {len(examples)} examples makes a training pair: {reasons}")
    return pairs, skipped


def _prepared(
    example: Example, renderer: Renderer, max_length: int, objective: ObjectiveConfig
) -> PreparedPair:
    pair = make_pair(example, renderer.tokenizer, renderer.eos_token_ids, objective.weighting)
    prepared = PreparedPair(pair, renderer.render(example.conversation, example.images))
    if prepared.length > max_length:
        raise UnfitPair(f"{prepared.length} tokens exceed the {max_length} that fit")
    if not (objective.image_contrast_weight and example.conversation.image_ids):
        return prepared
    misleading = renderer.render(*corrupted(example.conversation, example.images))
    return replace(prepared, misleading=misleading)
