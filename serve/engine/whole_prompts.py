"""Prompts read from their first token on, several in one forward: what is behind the shorter ones is padding.

In causal attention no token sees what comes after it, so that padding changes nothing. Whether that is all of a model's
attention is seen by reading both ways, the first time with images and without; a model that gives different scores
reads each prompt alone from then on.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence as Ordered
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import DynamicCache
from transformers.modeling_outputs import BaseModelOutputWithPast

from align.image_features import ImageFeatures
from align.logprobs import join_tensors

from .agreement import agree
from .cache import SlotCache
from .failure import is_device_lost, is_out_of_memory
from .forward import Embedded, Placed, last_logits
from .slotted_linear import Routing

logger = logging.getLogger(__name__)

UNFIT = (RuntimeError, TypeError, ValueError, KeyError, IndexError, AttributeError)
"""What a model raises that is not made for inputs of this form."""
CUT_OR_MADE_ANEW = ("inputs_embeds", "position_ids", "attention_mask", "past_key_values", "cache_position")
"""Of what a decoder is given, what a part of a prompt has a part of, or its own."""
MAX_PADDING = 1 / 3
"""Of what is read together, the share that may be padding."""


class WholePrompts:
    """Leaves keys and values in each sequence's row and notes its `position_offset`."""

    def __init__(
        self, model: Any, image_features: ImageFeatures, cache: SlotCache, routing: Routing, padding_id: int
    ) -> None:
        """`padding_id` is any token that is plain text."""
        self._model, self._image_features = model, image_features
        self._cache, self._routing = cache, routing
        self._padding_id = padding_id
        self._inner = getattr(model, "model", model)
        self._is_exact: dict[tuple[bool, bool], bool] = {}  # by whether with images, and with padding

    def read(self, placed: Ordered[Placed]) -> Tensor:
        """Logits (B, V) of what follows each prompt."""
        rows: list[Tensor] = [torch.empty(0)] * len(placed)
        for group in groups([one.sequence.prompt.num_tokens for one in placed]):
            for index, logits in zip(
                group, self._read_group([placed[index] for index in group]), strict=True
            ):
                rows[index] = logits
        return torch.stack(rows)

    def _read_group(self, placed: Ordered[Placed]) -> Tensor:
        if len(placed) > 1 and self._can_be_together(placed):
            return self._forward(placed)
        return torch.cat([self._forward([one]) for one in placed])

    def _can_be_together(self, placed: Ordered[Placed]) -> bool:
        """Found out with two of them, once for each kind."""
        first, *_, last = sorted(placed, key=_likeness)
        prompts = first.sequence.prompt, last.sequence.prompt
        has_images = bool(prompts[1].image_ids)
        kind = (has_images, prompts[0].num_tokens != prompts[1].num_tokens)
        if kind not in self._is_exact:
            is_exact = self._agree([first, last])
            if is_exact is None:
                return False
            self._is_exact[kind] = is_exact
            if not is_exact:
                logger.warning(
                    "%s scores prompts %s otherwise when several are read together: each is read alone.",
                    type(self._model).__name__,
                    "with images" if has_images else "without images",
                )
        return self._is_exact[kind]

    def _agree(self, placed: Ordered[Placed]) -> bool | None:
        """Whether they score alike alone and together; None where that of one alone is not finite, or memory short."""
        alone = torch.cat([self._forward([one]) for one in placed])  # raises where a prompt is what is wrong
        if not torch.isfinite(alone).all():
            return None
        offsets = [one.sequence.position_offset for one in placed]
        try:
            together = self._forward(placed)
        except UNFIT as error:
            if is_device_lost(error):
                raise
            return None if is_out_of_memory(error) else False
        return offsets == [one.sequence.position_offset for one in placed] and all(
            agree(*scores) for scores in zip(torch.split(together, 1), torch.split(alone, 1), strict=True)
        )

    def embed(self, placed: Placed) -> Embedded | None:
        """What the decoder would be given, which reads nothing yet; None where that is more than can be cut.

        Notes the sequence's `position_offset`.
        """
        decoder, given = self._model.get_decoder(), {}

        def take(**inputs: Any) -> BaseModelOutputWithPast:
            given.update(inputs)
            return BaseModelOutputWithPast(inputs["inputs_embeds"])

        decoder.forward = take
        try:
            self._model(**self._inputs([placed]), use_cache=False, logits_to_keep=1)
        finally:
            del decoder.forward
        self._note_offsets([placed])
        others = [value for name, value in given.items() if name not in CUT_OR_MADE_ANEW]
        if any(isinstance(value, Tensor | list | tuple) for value in others) or _sees_ahead(
            given["attention_mask"]
        ):
            return None
        return Embedded(given["inputs_embeds"], given.get("position_ids"))

    def _forward(self, placed: Ordered[Placed]) -> Tensor:
        cache = DynamicCache()
        self._routing.set([one.sequence.slot for one in placed], self._model.device)
        logits = last_logits(
            self._model,
            [one.sequence.prompt.num_tokens for one in placed],
            past_key_values=cache,
            **self._inputs(placed),
        )
        self._cache.write([one.row for one in placed], cache)
        self._note_offsets(placed)
        return logits

    def _inputs(self, placed: Ordered[Placed]) -> dict[str, Any]:
        device, dtype = self._model.device, self._model.dtype
        prompts, features = self._image_features.replace_pixels([one.sequence.prompt for one in placed])
        lengths = [prompt.num_tokens for prompt in prompts]
        padded = [
            prompt.input_ids + (self._padding_id,) * (max(lengths) - prompt.num_tokens) for prompt in prompts
        ]
        input_ids = torch.tensor(padded, device=device)
        tensors = {
            name: tensor.to(device, dtype if tensor.is_floating_point() else None)
            for name, tensor in join_tensors(prompts, max(lengths)).items()
        }
        if hasattr(self._inner, "rope_deltas"):  # Qwen-VL keeps those of the last prompts
            self._inner.rope_deltas = None
        return {
            "input_ids": input_ids,
            "attention_mask": torch.ones_like(input_ids),  # what is padded is seen by padding alone
            **tensors,
            **features,
        }

    def _note_offsets(self, placed: Ordered[Placed]) -> None:
        deltas = getattr(self._inner, "rope_deltas", None)
        offsets = [0] * len(placed) if deltas is None else deltas.flatten().tolist()
        for one, offset in zip(placed, offsets, strict=True):
            one.sequence.position_offset = int(offset)
            one.sequence.num_reused_tokens = 0


def _sees_ahead(mask: Tensor | dict[str, Tensor] | None) -> bool:
    """Whether a token sees one behind it, as those of an image do in some models."""
    masks = mask.values() if isinstance(mask, dict) else [mask]
    return any(_allowed(one).triu(1).any() for one in masks if one is not None and one.ndim == 4)


def _allowed(mask: Tensor) -> Tensor:  # (B, 1, T, L)
    return mask if mask.dtype == torch.bool else mask > torch.finfo(mask.dtype).min / 2


def _likeness(one: Placed) -> tuple[bool, int]:
    """By which the first and the last of some differ most."""
    prompt = one.sequence.prompt
    return bool(prompt.image_ids), prompt.num_tokens


def groups(lengths: Ordered[int]) -> list[list[int]]:
    """Which are read together, by their places in `lengths`: those of like length, the longest first."""
    found: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lambda index: -lengths[index]):
        group = [*found[-1], index] if found else []
        padded = len(group) * lengths[group[0]] if group else 0
        if group and padded - sum(lengths[one] for one in group) <= MAX_PADDING * padded:
            found[-1] = group
        else:
            found.append([index])
    return found
