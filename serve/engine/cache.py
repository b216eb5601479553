"""Key/value memory for all running sequences, allocated once: row b of a batch is slot b, rows differ in length."""

from __future__ import annotations

from collections.abc import Sequence as Ordered
from typing import Any, TypeAlias

import torch
from torch import Tensor
from transformers.cache_utils import Cache, CacheLayerMixin, DynamicCache

Layers: TypeAlias = tuple[tuple[Tensor, Tensor], ...]
"""Keys and values of each layer, (heads, tokens, dim)."""


class _Batch:
    """The rows of the next forward, and where each writes."""

    def __init__(self) -> None:
        self.rows: slice | list[int] = []
        self.num_held = 0  # tokens of the longest row
        self.length = 0  # the longest after it
        self.places = torch.empty(0, dtype=torch.long)  # (B, 1, T) of the new tokens, row by row
        self.first = torch.empty(0, dtype=torch.long)  # (B, 1, 1), rows before each
        self.index: dict[int, Tensor] = {}  # number of heads -> (B * heads * T,) places in a flattened layer


class SlotLayer(CacheLayerMixin):  # type: ignore[misc]  # transformers has no types
    is_sliding = False

    def __init__(self, keys: Tensor, values: Tensor, batch: _Batch) -> None:  # (slots, heads, length, dim)
        super().__init__()
        self.keys, self.values = keys, values
        self.dtype, self.device = keys.dtype, keys.device
        self.is_initialized = True
        self._flat_keys, self._flat_values = keys.flatten(0, 2), values.flatten(0, 2)
        self._batch = batch

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        pass

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Write the new tokens of each row, (B, heads, T, dim); all rows up to the longest, (B, heads, L, dim)."""
        index = self._index()
        self._flat_keys.index_copy_(0, index, key_states.reshape(-1, key_states.shape[-1]))
        self._flat_values.index_copy_(0, index, value_states.reshape(-1, value_states.shape[-1]))
        rows, length = self._batch.rows, self._batch.length
        return self.keys[rows, :, :length], self.values[rows, :, :length]

    def _index(self) -> Tensor:
        _, num_heads, length, _ = self.keys.shape
        if num_heads not in self._batch.index:
            heads = torch.arange(num_heads, device=self.device).view(1, -1, 1)
            starts = (self._batch.first * num_heads + heads) * length  # (B, heads, 1)
            self._batch.index[num_heads] = (starts + self._batch.places).flatten()
        return self._batch.index[num_heads]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.get_seq_length() + query_length, 0

    def get_seq_length(self) -> int:
        return self._batch.num_held

    def get_max_length(self) -> int:
        return int(self.keys.shape[2])


class SlotCache(Cache):  # type: ignore[misc]  # transformers has no types
    """For what follows tokens that rows hold. Whole prompts are read with transformers' own, which `write` copies."""

    def __init__(self, like: DynamicCache, num_slots: int, max_length: int) -> None:
        """`like` holds any short sequence: heads and sizes of each layer are taken from it."""
        self._batch = _Batch()
        super().__init__(
            layers=[
                SlotLayer(
                    layer.keys.new_zeros(num_slots, layer.keys.shape[1], max_length, layer.keys.shape[3]),
                    layer.values.new_zeros(
                        num_slots, layer.values.shape[1], max_length, layer.values.shape[3]
                    ),
                    self._batch,
                )
                for layer in like.layers
            ]
        )
        self._max_length = max_length
        self._all_places = torch.arange(max_length, device=self.layers[0].device)

    @property
    def num_bytes(self) -> int:
        return sum(layer.keys.nbytes + layer.values.nbytes for layer in self.layers)

    def write(self, rows: Ordered[int], prompts: DynamicCache) -> None:
        """Keys and values of whole prompts, one a row; the padding behind them is overwritten before it is seen."""
        for layer, source in zip(self.layers, prompts.layers, strict=True):
            layer.keys[_index_of(rows), :, : source.keys.shape[2]] = source.keys
            layer.values[_index_of(rows), :, : source.keys.shape[2]] = source.values

    def fill(self, row: int, layers: Layers, length: int) -> None:
        """The first `length` positions, as `copy` gave them."""
        for layer, (keys, values) in zip(self.layers, layers, strict=True):
            layer.keys[row, :, :length] = keys[:, :length]
            layer.values[row, :, :length] = values[:, :length]

    def copy(self, row: int, length: int) -> Layers:
        return tuple(
            (layer.keys[row, :, :length].clone(), layer.values[row, :, :length].clone())
            for layer in self.layers
        )

    def move(self, source: int, target: int, length: int) -> None:
        """Close a gap: copy the first `length` positions of one row onto another."""
        for layer in self.layers:
            layer.keys[target, :, :length] = layer.keys[source, :, :length]
            layer.values[target, :, :length] = layer.values[source, :, :length]

    def clear(self, row: int) -> None:
        """A position that is masked has weight zero, but zero times what is not finite is not zero."""
        for layer in self.layers:
            layer.keys[row].zero_()
            layer.values[row].zero_()

    def places(self, num_held: Tensor, num_new: int) -> Tensor:  # (B, 1) -> (B, T)
        """Of tokens behind those that rows hold; padding beyond all stays in the last, which no prompt fills."""
        return (num_held + self._all_places[:num_new]).clamp_(max=self._max_length - 1)

    def select(self, rows: list[int], num_held: list[int], places: Tensor) -> Tensor:
        """Choose the rows of the next forward, what they hold and the places of their new tokens, (B, T).

        Returns the additive attention mask (B, 1, T, L): a token sees what its row holds, and new ones up to itself.
        """
        batch = self._batch
        batch.rows, batch.num_held, batch.places, batch.index = (
            _index_of(rows),
            max(num_held),
            places[:, None],
            {},
        )
        batch.length = min(batch.num_held + places.shape[1], self._max_length)
        batch.first = torch.tensor(rows, device=places.device).view(-1, 1, 1)
        layer = self.layers[0]
        is_future = self._all_places[: batch.length] > places[..., None]  # (B, T, L)
        mask = torch.zeros(is_future.shape, dtype=layer.dtype, device=layer.device)
        return mask.masked_fill_(is_future, float("-inf"))[:, None]

    def within(self, mask: Tensor, places: Tensor, window: int) -> Tensor:
        """A mask of `select`, narrowed to the last `window` positions before each token, its own included."""
        is_out = self._all_places[: mask.shape[-1]] <= places[..., None] - window  # (B, T, L)
        return mask.masked_fill(is_out[:, None], float("-inf"))


def _index_of(rows: Ordered[int]) -> slice | list[int]:
    """As an index: a view where the rows stand side by side, which those of a step always do."""
    is_run = all(row == rows[0] + index for index, row in enumerate(rows))
    return slice(rows[0], rows[0] + len(rows)) if is_run else list(rows)
