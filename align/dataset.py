"""Corrections made ready for a model: pairs with their rendered prompts, and why others had to stay out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

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

    @property
    def length(self) -> int:
        answers = self.pair.chosen, self.pair.rejected
        return len(self.prompt.input_ids) + max(len(answer.token_ids) for answer in answers)


def prepare_pairs(
    examples: Sequence[Example], renderer: Renderer, max_length: int
) -> tuple[list[PreparedPair], list[Skipped]]:
    """Every example that makes a pair, and why the others do not. Raises `NothingToLearn` if none does."""
    pairs: list[PreparedPair] = []
    skipped: list[Skipped] = []
    for example in examples:
        try:
            pair = make_pair(example, renderer.tokenizer, renderer.eos_token_ids)
            prepared = PreparedPair(pair, renderer.render(example.conversation, example.images))
            if prepared.length > max_length:
                raise UnfitPair(f"{prepared.length} tokens exceed the {max_length} that fit")
            pairs.append(prepared)
        except (UnfitPair, InvalidImage, InvalidConversation) as error:
            skipped.append(Skipped(example.id, str(error)))
    if not pairs:
        reasons = "; ".join(skip.reason for skip in skipped[:3]) or "no corrections were given"
        raise NothingToLearn(f"none of {len(examples)} examples makes a training pair: {reasons}")
    return pairs, skipped
