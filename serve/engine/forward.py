"""One forward over key/value memory: what follows the tokens that rows hold, one each in a step, more in a prompt."""

from __future__ import annotations

from collections.abc import Sequence as Ordered
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .cache import SlotCache
from .sequence import Sequence
from .slotted_linear import Routing
from .window import FULL, SLIDING, Window


@dataclass(frozen=True)
class Tokens:
    """What is read for one row, behind the `num_held` tokens that it holds."""

    row: int
    slot: int
    token_ids: tuple[int, ...]
    num_held: int
    position_offset: int
    """As in `Sequence`."""


@dataclass(frozen=True)
class Placed:
    sequence: Sequence
    row: int


@dataclass(frozen=True)
class Embedded:
    """What a decoder is given for one prompt, its images in their places."""

    embeddings: Tensor  # (1, T, D)
    position_ids: Tensor | None  # (..., 1, T), where the model does not leave them to its decoder

    @property
    def num_tokens(self) -> int:
        return self.embeddings.shape[1]

    def part(self, start: int, end: int) -> Embedded:
        positions = self.position_ids
        return Embedded(
            self.embeddings[:, start:end], None if positions is None else positions[..., start:end]
        )


class Forward:
    """Rows may differ in all that `Tokens` says: what is shorter is padded, where no other token sees it."""

    def __init__(self, model: Any, cache: SlotCache, routing: Routing, window: Window | None) -> None:
        self._model, self._decoder = model, model.get_decoder()
        self._cache, self._routing, self._window = cache, routing, window

    def __call__(self, rows: Ordered[Tokens]) -> Tensor:
        """Logits (B, V) of what follows each row's last token."""
        device = self._model.device
        num_new = max(len(row.token_ids) for row in rows)
        padded = [row.token_ids + (0,) * (num_new - len(row.token_ids)) for row in rows]
        numbers = torch.tensor(
            [
                (row.num_held, row.position_offset, *token_ids)
                for row, token_ids in zip(rows, padded, strict=True)
            ],
            device=device,
        )
        held, offsets, token_ids = torch.split(numbers, [1, 1, num_new], dim=1)  # (B, 1) (B, 1) (B, T)
        places = self._cache.places(held, num_new)
        past = self._cache.select([row.row for row in rows], [row.num_held for row in rows], places)
        self._routing.set([row.slot for row in rows], device)
        return last_logits(
            self._model,
            [len(row.token_ids) for row in rows],
            input_ids=token_ids,
            attention_mask=self._mask(past, places),
            position_ids=places + offsets,
            past_key_values=self._cache,
        )

    def read_embedded(self, placed: Placed, num_held: int, part: Embedded) -> None:
        """Read what is no longer tokens behind the first `num_held` of a sequence's row."""
        device = self._model.device
        places = self._cache.places(torch.tensor([[num_held]], device=device), part.num_tokens)
        past = self._cache.select([placed.row], [num_held], places)
        self._routing.set([placed.sequence.slot], device)
        self._decoder(
            inputs_embeds=part.embeddings,
            attention_mask=self._mask(past, places),
            position_ids=places if part.position_ids is None else part.position_ids,
            past_key_values=self._cache,
            use_cache=True,
        )

    def _mask(self, past: Tensor, places: Tensor) -> Tensor | dict[str, Tensor]:
        """In the form that the model's layers ask for: `past` (B, 1, T, L) lets a row see all that came before."""
        if self._window is None:
            return past
        within = self._cache.within(past, places, self._window.num_positions)
        return within if self._window.is_everywhere else {FULL: past, SLIDING: within}


def last_logits(model: Any, lengths: Ordered[int], **inputs: Any) -> Tensor:  # (B, V)
    """The logits of each row's last token alone: what comes after `lengths` is padding."""
    if len(set(lengths)) == 1:
        logits: Tensor = model(**inputs, use_cache=True, logits_to_keep=1).logits[:, -1]
        return logits
    rows, ends = range(len(lengths)), [length - 1 for length in lengths]

    def pick(_: torch.nn.Module, hidden: tuple[Tensor]) -> tuple[Tensor]:  # (B, T, D)
        return (hidden[0][rows, ends][:, None],)

    hook = model.get_output_embeddings().register_forward_pre_hook(pick)
    try:
        logits = model(**inputs, use_cache=True).logits[:, -1]
    finally:
        hook.remove()
    return logits
