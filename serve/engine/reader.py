"""Reads the prompts of a step: their keys and values, and the scores of their first answer tokens.

Decides what need not be read: a beginning that was read before, where all images lie in it and what is left are words.
"""

from __future__ import annotations

import logging
from collections.abc import Hashable
from collections.abc import Sequence as Ordered
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from align.rendering import Rendered

from .agreement import agree
from .cache import SlotCache
from .failure import is_device_lost, is_out_of_memory
from .forward import Forward, Placed, Tokens
from .prefixes import BLOCK, Prefixes, Reading
from .sequence import Sequence
from .whole_prompts import UNFIT, WholePrompts, groups

logger = logging.getLogger(__name__)


class Reader:
    """Whether it is exact to go on from where another prompt ended depends on the model's attention and positions. So
    the first time, with images and without, the prompt is read both ways; a model that gives different scores reads
    all prompts of that kind whole from then on.
    """

    def __init__(
        self, model: Any, whole: WholePrompts, forward: Forward, cache: SlotCache, prefixes: Prefixes
    ) -> None:
        self._model_name = type(model).__name__
        self._image_token_id = getattr(model.config, "image_token_id", None)
        self._whole, self._forward = whole, forward
        self._cache, self._prefixes = cache, prefixes
        self._is_exact: dict[bool, bool] = {}  # with images or without; where it is known

    def read(self, sequences: Ordered[Sequence], first_row: int) -> Tensor:
        """Logits (B, V). Fills the rows from `first_row` on; notes each sequence's `position_offset`."""
        placed = [Placed(sequence, row) for row, sequence in enumerate(sequences, first_row)]
        logits: dict[int, Tensor] = {}  # by row
        later = self._read_now(placed, self._alike(placed), logits)
        self._read_now(later, set(), logits)
        return torch.stack([logits[one.row] for one in placed])

    def _read_now(self, placed: list[Placed], alike: set[int], logits: dict[int, Tensor]) -> list[Placed]:
        """All but those of the rows `alike` that share nothing yet, which are returned."""
        shared = {one.row: self.shared(one) for one in placed}
        rests = [Rest(one, *found) for one in placed if (found := shared[one.row]) is not None]
        whole = [one for one in placed if shared[one.row] is None and one.row not in alike]
        later = [one for one in placed if shared[one.row] is None and one.row in alike]
        if whole:
            logits |= zip((one.row for one in whole), self._whole.read(whole), strict=True)
        for group in groups([rest.num_tokens for rest in rests]):
            together = [rests[index] for index in group]
            logits |= zip((rest.placed.row for rest in together), self._read_rests(together), strict=True)
        for one in placed:
            if one.row in logits and torch.isfinite(logits[one.row]).all():
                self.keep(one)
        return later

    def _alike(self, placed: list[Placed]) -> set[int]:
        """Rows of prompts that begin as one before them does: they go on from what that one left, once it was read."""
        seen: set[Hashable] = set()
        rows: set[int] = set()
        for one in placed:
            prompt = one.sequence.prompt
            beginning = (one.sequence.version, prompt.image_ids, prompt.input_ids[:BLOCK])
            if beginning in seen and self._is_exact.get(bool(prompt.image_ids), self._prefixes.is_on):
                rows.add(one.row)
            seen.add(beginning)
        return rows

    def shared(self, one: Placed) -> tuple[Reading, int] | None:
        """What was read before of how many of its first tokens, if it is exact to go on from there."""
        prompt = one.sequence.prompt
        has_images = bool(prompt.image_ids)
        if self._is_exact.get(has_images) is False:
            return None
        # the last token is always read: its scores are what is asked for
        shared = self._prefixes.longest(one.sequence.version, prompt.input_ids[:-1], prompt.image_ids)
        if shared is None or not self._holds_all_images(prompt, shared[1]):
            return None
        if has_images not in self._is_exact:
            is_exact = self._agrees(Rest(one, *shared))
            if is_exact is None:
                return None
            self._is_exact[has_images] = is_exact
        return shared if self._is_exact[has_images] else None

    def _holds_all_images(self, prompt: Rendered, num_tokens: int) -> bool:
        end = end_of_images(prompt, self._image_token_id)
        return end is not None and end <= num_tokens

    def _agrees(self, rest: Rest) -> bool | None:
        """Whether it scores alike whole and in parts; None where its scores are not finite, or memory short."""
        sequence = rest.placed.sequence
        whole = self._whole.read([rest.placed])
        if not torch.isfinite(whole).all():
            return None
        offset = sequence.position_offset
        try:
            is_exact = agree(whole, self._read_rests([rest])) and offset == sequence.position_offset
        except UNFIT as error:
            if is_device_lost(error):
                raise
            if is_out_of_memory(error):
                return None
            is_exact = False
        if not is_exact:
            logger.warning(
                "%s scores a prompt %s otherwise when it is read in parts: all are read whole.",
                self._model_name,
                "with images" if sequence.prompt.image_ids else "without images",
            )
        return is_exact

    def _read_rests(self, rests: Ordered[Rest]) -> Tensor:  # (B, V)
        for rest in rests:
            self.fill(rest.placed, rest.reading, rest.num_shared)
        return self._forward([rest.tokens for rest in rests])

    def fill(self, one: Placed, reading: Reading, num_shared: int) -> None:
        """Put what was read before into its row."""
        self._cache.fill(one.row, reading.layers, num_shared)
        one.sequence.position_offset = reading.position_offset
        one.sequence.num_reused_tokens = num_shared

    def keep(self, one: Placed) -> None:
        """Remember what its row holds of its prompt."""
        sequence, prompt = one.sequence, one.sequence.prompt
        key = (sequence.version, prompt.input_ids, prompt.image_ids)
        if self._prefixes.is_on and not self._prefixes.has(*key):
            layers = self._cache.copy(one.row, prompt.num_tokens)
            self._prefixes.keep(Reading(*key, layers, sequence.position_offset))


def end_of_images(prompt: Rendered, image_token_id: int | None) -> int | None:
    """How many of its first tokens hold all its images; None where that cannot be seen."""
    if not prompt.image_ids:
        return 0
    if image_token_id not in prompt.input_ids:
        return None
    return prompt.num_tokens - prompt.input_ids[::-1].index(image_token_id)


@dataclass(frozen=True)
class Rest:
    """What is left of a prompt behind what it shares with a reading."""

    placed: Placed
    reading: Reading
    num_shared: int

    @property
    def num_tokens(self) -> int:
        return self.placed.sequence.prompt.num_tokens - self.num_shared

    @property
    def tokens(self) -> Tokens:
        sequence, offset = self.placed.sequence, self.reading.position_offset
        left = sequence.prompt.input_ids[self.num_shared :]
        return Tokens(self.placed.row, sequence.slot, left, self.num_shared, offset)
