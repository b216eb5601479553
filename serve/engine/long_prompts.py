"""A prompt that is too long for one step: read in parts, one a step, while the answers of others go on.

Up to its last image a part is what the decoder is given for tokens and images together, behind it tokens. Whether that
is exact is a question of the model's attention: the first such prompt, with images and without, is read both ways.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

import torch
from torch import Tensor

from .agreement import agree
from .failure import is_device_lost, is_out_of_memory
from .forward import Embedded, Forward, Placed, Tokens
from .reader import Reader, end_of_images
from .sequence import Sequence
from .whole_prompts import UNFIT, WholePrompts

logger = logging.getLogger(__name__)


class LongPrompts:
    """What is known of a model about reading in parts; a long prompt fills a row of its own."""

    def __init__(
        self,
        model_name: str,
        image_token_id: int | None,
        whole: WholePrompts,
        reader: Reader,
        forward: Forward,
    ) -> None:
        self._model_name, self._image_token_id = model_name, image_token_id
        self._whole, self._reader, self._forward = whole, reader, forward
        self._is_exact: dict[bool, bool] = {}  # with images or without; where it is known

    def begin(self, placed: Placed) -> LongPrompt:
        return LongPrompt(self, placed)

    def read(self, prompt: LongPrompt, num_tokens: int) -> Tensor | None:
        """Read on by so many tokens; logits (1, V) of what follows the prompt, when it is read to its end."""
        if prompt.placed.sequence.num_read > 0:
            return self._read_on(prompt, num_tokens)
        shared = self._reader.shared(prompt.placed)
        if shared is not None:
            self._reader.fill(prompt.placed, *shared)
            prompt.placed.sequence.num_read = shared[1]
            return self._read_on(prompt, num_tokens)
        has_images = bool(prompt.placed.sequence.prompt.image_ids)
        if has_images not in self._is_exact:
            return self._read_both_ways(prompt, num_tokens)
        if self._is_exact[has_images] and self._embed(prompt):
            return self._read_on(prompt, num_tokens)
        return self._read_whole(prompt)

    def _read_on(self, prompt: LongPrompt, num_tokens: int) -> Tensor | None:
        logits = self._read_part(prompt, num_tokens)
        if logits is not None and torch.isfinite(logits).all():
            self._reader.keep(prompt.placed)
        return logits

    def _read_whole(self, prompt: LongPrompt) -> Tensor:
        logits = self._whole.read([prompt.placed])
        prompt.placed.sequence.num_read = prompt.placed.sequence.prompt.num_tokens
        if torch.isfinite(logits).all():
            self._reader.keep(prompt.placed)
        return logits

    def _read_both_ways(self, prompt: LongPrompt, num_tokens: int) -> Tensor:
        """The first of its kind, in one step."""
        sequence = prompt.placed.sequence
        whole = self._read_whole(prompt)  # raises where the prompt is what is wrong
        if not torch.isfinite(whole).all():
            return whole
        offset, has_images = sequence.position_offset, bool(sequence.prompt.image_ids)
        try:
            if self._embed(prompt) and agree(whole, logits := self._read_all_parts(prompt, num_tokens)):
                self._is_exact[has_images] = offset == sequence.position_offset
            else:
                self._is_exact[has_images] = False
        except UNFIT as error:
            if is_device_lost(error):
                raise
            if not is_out_of_memory(error):
                self._is_exact[has_images] = False
        if self._is_exact.get(has_images):
            return logits
        if has_images in self._is_exact:
            logger.warning(
                "%s cannot read a long prompt %s in parts: each is read whole, while all others wait.",
                self._model_name,
                "with images" if has_images else "without images",
            )
        return self._read_whole(prompt)

    def _read_all_parts(self, prompt: LongPrompt, num_tokens: int) -> Tensor:
        prompt.placed.sequence.num_read = 0
        while (logits := self._read_part(prompt, num_tokens)) is None:
            pass
        return logits

    def _read_part(self, prompt: LongPrompt, num_tokens: int) -> Tensor | None:
        placed, sequence = prompt.placed, prompt.placed.sequence
        start, token_ids = sequence.num_read, sequence.prompt.input_ids
        end = min(start + num_tokens, len(token_ids))
        if prompt.embedded is not None and start < prompt.embedded.num_tokens:
            end_of_part = min(end, prompt.embedded.num_tokens)
            self._forward.read_embedded(placed, start, prompt.embedded.part(start, end_of_part))
            start = end_of_part
        logits = None
        if start < end:
            tokens = Tokens(placed.row, sequence.slot, token_ids[start:end], start, sequence.position_offset)
            logits = self._forward([tokens])
        sequence.num_read = end
        return logits if end == len(token_ids) else None

    def _embed(self, prompt: LongPrompt) -> bool:
        """What is up to its last image. False where it cannot be cut."""
        rendered = prompt.placed.sequence.prompt
        end = end_of_images(rendered, self._image_token_id)
        if end is None or end == rendered.num_tokens:
            return False
        if end > 0:
            embedded = self._whole.embed(prompt.placed)
            if embedded is None:
                return False
            prompt.embedded = embedded.part(0, end)
        return True


@dataclass
class LongPrompt:
    """One that is being read; `Sequence.num_read` says how far."""

    prompts: LongPrompts
    placed: Placed
    embedded: Embedded | None = None

    @property
    def sequence(self) -> Sequence:
        return self.placed.sequence

    def read(self, num_tokens: int) -> Tensor | None:
        """As `LongPrompts.read`."""
        return self.prompts.read(self, num_tokens)
