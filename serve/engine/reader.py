"""Reads one prompt: its keys and values and the scores of its first answer token. Decides what need not be read."""

from __future__ import annotations

import logging
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import DynamicCache

from align.image_features import ImageFeatures
from align.rendering import Rendered

from .agreement import agree
from .prefixes import Prefixes, Reading
from .sequence import Sequence

logger = logging.getLogger(__name__)

UNFIT = (RuntimeError, TypeError, ValueError, KeyError, IndexError, AttributeError)
"""What a model raises that is not made to go on from where another prompt ended."""


class Reader:
    """A beginning that was read before is not read again, where all images lie in it: what is left are words.

    Whether that is exact depends on the model's attention and positions. So the first time, with images and without,
    the prompt is read both ways; a model that gives different scores reads all prompts of that kind whole from then on.
    """

    def __init__(self, model: Any, image_features: ImageFeatures, max_prefix_bytes: int) -> None:
        self._model = model
        self._inner = getattr(model, "model", model)
        self._image_token_id = getattr(model.config, "image_token_id", None)
        self._image_features = image_features
        self._prefixes = Prefixes(max_prefix_bytes)
        self._is_exact: dict[bool, bool] = {}  # with images or without; where it is known

    def read(self, sequence: Sequence) -> tuple[Tensor, DynamicCache]:
        """Logits (1, V) and the cache. Notes the sequence's `position_offset`."""
        prompt = sequence.prompt
        shared = self._shared(sequence.version, prompt)
        if shared is None:
            logits, cache, offset = self._read_whole(prompt)
        else:
            logits, cache, offset = self._read_rest(prompt, *shared)
        sequence.position_offset = offset
        if torch.isfinite(logits).all():
            layers = tuple((layer.keys, layer.values) for layer in cache.layers)
            self._prefixes.keep(Reading(sequence.version, prompt.input_ids, prompt.image_ids, layers, offset))
        return logits, cache

    def _shared(self, version: str, prompt: Rendered) -> tuple[Reading, int] | None:
        has_images = bool(prompt.image_ids)
        if self._is_exact.get(has_images) is False:
            return None
        # the last token is always read: its scores are what is asked for
        shared = self._prefixes.longest(version, prompt.input_ids[:-1], prompt.image_ids)
        if shared is None or not self._holds_all_images(prompt, shared[1]):
            return None
        if has_images not in self._is_exact:
            self._is_exact[has_images] = self._agrees(prompt, *shared)
        return shared if self._is_exact[has_images] else None

    def _holds_all_images(self, prompt: Rendered, num_tokens: int) -> bool:
        if not prompt.image_ids:
            return True
        return self._image_token_id is not None and self._image_token_id not in prompt.input_ids[num_tokens:]

    def _agrees(self, prompt: Rendered, reading: Reading, num_tokens: int) -> bool:
        whole, _, offset = self._read_whole(prompt)
        try:
            rest, _, _ = self._read_rest(prompt, reading, num_tokens)
            is_exact = offset == reading.position_offset and agree(whole, rest)
        except UNFIT:
            is_exact = False
        if not is_exact:
            kind = "with images" if prompt.image_ids else "without images"
            name = type(self._model).__name__
            logger.warning(
                "%s scores a prompt %s otherwise when it is read in parts: all are read whole.", name, kind
            )
        return is_exact

    def _read_whole(self, prompt: Rendered) -> tuple[Tensor, DynamicCache, int]:
        (prompt,), features = self._image_features.replace_pixels([prompt])
        device, dtype = self._model.device, self._model.dtype
        tensors = {
            name: tensor.to(device, dtype if tensor.is_floating_point() else None)
            for name, tensor in prompt.tensors.items()
        }
        if hasattr(self._inner, "rope_deltas"):  # Qwen-VL keeps that of the last prompt
            self._inner.rope_deltas = None
        cache = DynamicCache()
        logits = self._forward(prompt.input_ids, prompt.num_tokens, cache, **tensors, **features)
        deltas = getattr(self._inner, "rope_deltas", None)
        return logits, cache, 0 if deltas is None else int(deltas.flatten()[0])

    def _read_rest(
        self, prompt: Rendered, reading: Reading, num_tokens: int
    ) -> tuple[Tensor, DynamicCache, int]:
        cache = DynamicCache()
        for index, (keys, values) in enumerate(reading.layers):
            cache.update(keys[:, :, :num_tokens], values[:, :, :num_tokens], index)
        positions = torch.arange(num_tokens, prompt.num_tokens, device=self._model.device)[None]
        logits = self._forward(
            prompt.input_ids[num_tokens:],
            prompt.num_tokens,
            cache,
            position_ids=positions + reading.position_offset,
        )
        return logits, cache, reading.position_offset

    def _forward(
        self, token_ids: tuple[int, ...], num_tokens: int, cache: DynamicCache, **inputs: Any
    ) -> Tensor:
        device = self._model.device
        logits: Tensor = self._model(
            input_ids=torch.tensor([token_ids], device=device),
            attention_mask=torch.ones(1, num_tokens, dtype=torch.long, device=device),
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
            **inputs,
        ).logits[:, -1]
        return logits
