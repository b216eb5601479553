"""Runs the model: reads prompts, or takes one step for the whole batch. Decides nothing and samples nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import DynamicCache

from align.errors import InvalidAdapter
from align.image_features import ImageFeatures

from ..errors import SettingsError
from .adapters import LowRank
from .cache import SlotCache
from .capacity import capacity
from .config import EngineConfig
from .device import cache_bytes
from .forward import Forward, Placed, Tokens
from .long_prompts import LongPrompt, LongPrompts
from .prefixes import Prefixes
from .reader import Reader
from .sequence import Sequence
from .slots import BASE_SLOT
from .slotted_linear import Routing, install
from .whole_prompts import WholePrompts
from .window import sliding_window


class Runner:
    """Used from one thread at a time. Row b of the key/value memory belongs to the b-th running sequence."""

    def __init__(self, model: Any, config: EngineConfig, probe_ids: list[int]) -> None:
        """`probe_ids` is any short text: it shows the shape of the cache and whether an adapter does something."""
        self._model = model.eval().requires_grad_(False)
        self._device = model.device
        self._routing = Routing(config.num_adapter_slots, config.max_rank)
        self._layers = install(model, model.get_decoder(), self._routing) if config.num_adapter_slots else {}
        self._image_features = ImageFeatures(model, config.image_cache_bytes)
        self._probe_ids = torch.tensor([probe_ids], device=self._device)
        with torch.inference_mode():
            probed = self._probe_cache()
            text_config = model.config.get_text_config()
            limit = getattr(text_config, "max_position_embeddings", None)
            space = cache_bytes(config, self._device)
            prefix_bytes = int(space * config.prefix_share)
            self.capacity = capacity(config, limit, _token_bytes(probed), space - prefix_bytes)
            self._cache = SlotCache(probed, self.capacity.num_sequences, self.capacity.max_model_len)
        window = sliding_window(text_config)
        is_reached = window is not None and window.num_positions < self.capacity.max_model_len
        # within one window it is full attention
        self._forward = Forward(model, self._cache, self._routing, window if is_reached else None)
        whole = WholePrompts(model, self._image_features, self._cache, self._routing, probe_ids[0])
        self._prefixes = Prefixes(prefix_bytes)
        self._reader = Reader(model, whole, self._forward, self._cache, self._prefixes)
        image_token_id = getattr(model.config, "image_token_id", None)
        self._long_prompts = LongPrompts(self.model_name, image_token_id, whole, self._reader, self._forward)

    @property
    def cache_bytes(self) -> int:
        """Of keys and values."""
        return self._cache.num_bytes

    @property
    def model_name(self) -> str:
        return type(self._model).__name__

    @property
    def shapes(self) -> dict[str, tuple[int, int]]:
        """(out, in) of the layers that can be adapted, by name."""
        return {name: (layer.out_features, layer.in_features) for name, layer in self._layers.items()}

    def prefill(self, sequences: tuple[Sequence, ...], first_row: int) -> Tensor:
        """Read prompts into rows `first_row`, `first_row` + 1, ...; logits (B, V) of their first answer tokens."""
        return self._reader.read(sequences, first_row)

    def begin_long(self, sequence: Sequence, row: int) -> LongPrompt:
        """Read nothing yet of a prompt that is to be read in parts, into this row."""
        return self._long_prompts.begin(Placed(sequence, row))

    def decode(self, sequences: tuple[Sequence, ...], first_row: int = 0) -> Tensor:
        """Logits (B, V) of the next token of the sequences in rows `first_row`, `first_row` + 1, ..."""
        return self._forward(
            [
                Tokens(
                    row,
                    sequence.slot,
                    (sequence.last_token_id,),
                    sequence.num_cached,
                    sequence.position_offset,
                )
                for row, sequence in enumerate(sequences, first_row)
            ]
        )

    def move(self, source: int, target: int, length: int) -> None:
        """Copy a row's first `length` positions onto another."""
        self._cache.move(source, target, length)

    @torch.inference_mode()
    def clear(self, row: int) -> None:
        """Forget all that a row holds, also what is not finite."""
        self._cache.clear(row)

    @torch.inference_mode()
    def write_adapter(self, version: str, slot: int, adapter: Mapping[str, LowRank]) -> None:
        """Copy an adapter into a slot that no sequence uses, and see that it works. Raises `InvalidAdapter`.

        What another adapter of that version's name has read is forgotten.
        """
        self._prefixes.forget(version)
        for name, layer in self._layers.items():
            if name in adapter:
                layer.write(slot, adapter[name].a, adapter[name].b)
            else:
                layer.clear(slot)
        self._routing.put(slot, max(low_rank.a.shape[0] for low_rank in adapter.values()))
        change = (self._probe(slot) - self._probe(BASE_SLOT)).abs().max()
        is_empty = not any(low_rank.b.any() for low_rank in adapter.values())
        if not torch.isfinite(change):
            raise InvalidAdapter("The model's output is no longer finite with it: its weights are too large.")
        if (change == 0) != is_empty:
            raise InvalidAdapter(
                "The model's output does not change with it, though its weights are not zero."
            )

    def _probe(self, slot: int) -> Tensor:
        self._routing.set([slot], self._device)
        logits: Tensor = self._model(input_ids=self._probe_ids, use_cache=False).logits
        return logits.float()

    def _probe_cache(self) -> DynamicCache:
        cache = DynamicCache()
        try:
            self._model(input_ids=self._probe_ids, past_key_values=cache, use_cache=True)
            assert {layer.keys.ndim for layer in cache.layers} == {4}
        except (AssertionError, AttributeError, TypeError, ValueError) as error:
            raise SettingsError(
                f"{self.model_name} does not use the standard cache; choose another model."
            ) from error
        return cache


def _token_bytes(cache: DynamicCache) -> int:
    """Keys and values of one token, over all layers."""
    tensors = [tensor for layer in cache.layers for tensor in (layer.keys, layer.values)]
    return sum(tensor.nbytes // tensor.shape[2] for tensor in tensors)
