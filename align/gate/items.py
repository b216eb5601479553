"""Examples made ready to be measured: rendered prompts, answers as tokens, and what a new answer is checked against."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from ..errors import InvalidConversation, InvalidImage, UnfitPair
from ..examples import Example
from ..pairs import Answer, make_pair
from ..rendering import Rendered, Renderer
from ..scenes.world import Scene
from .segments import Segment, removed_segments
from .truth import scene_described
from .words import undisputed_words

T = TypeVar("T")


@dataclass(frozen=True)
class Item:
    """One example, ready for the model. Uncorrected answers have no pair, only the served answer."""

    id: str
    group: str
    prompt: Rendered
    chosen: Answer
    rejected: Answer | None
    undisputed: frozenset[str]
    segments: tuple[Segment, ...]
    scene: Scene | None

    @property
    def served(self) -> Answer:
        return self.rejected or self.chosen


def prepare_items(examples: Iterable[Example], renderer: Renderer) -> tuple[list[Item], list[str]]:
    """The items, and the ids of those that the model cannot read or spell."""
    items: list[Item] = []
    unfit: list[str] = []
    for example in examples:
        try:
            items.append(_item(example, renderer))
        except (UnfitPair, InvalidImage, InvalidConversation):
            unfit.append(example.id)
    return items, unfit


def by_length(items: Sequence[Item], batch_size: int, run: Callable[[Sequence[Item]], list[T]]) -> list[T]:
    """`run` on batches of similar length; the results in the items' own order."""
    order = sorted(range(len(items)), key=lambda number: len(items[number].served.token_ids))
    results: dict[int, T] = {}
    for start in range(0, len(order), batch_size):
        part = order[start : start + batch_size]
        results.update(zip(part, run([items[number] for number in part]), strict=True))
    return [results[number] for number in range(len(items))]


def _item(example: Example, renderer: Renderer) -> Item:
    """Raises `UnfitPair`, `InvalidImage`, `InvalidConversation`."""
    prompt = renderer.render(example.conversation, example.images)
    chosen, rejected = _answers(example, renderer)
    return Item(
        example.id,
        example.group,
        prompt,
        chosen,
        rejected,
        frozenset(undisputed_words(example)),
        tuple(removed_segments(example)),
        scene_described(example),
    )


def _answers(example: Example, renderer: Renderer) -> tuple[Answer, Answer | None]:
    if example.spans:
        pair = make_pair(example, renderer.tokenizer, renderer.eos_token_ids)
        return pair.chosen, pair.rejected
    if not example.served_token_ids:
        raise UnfitPair(f"the answer {example.id} has no tokens")
    return Answer(example.served_token_ids, (False,) * len(example.served_token_ids)), None
