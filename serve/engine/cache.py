"""Key/value memory for all running sequences, allocated once: row b of a batch is slot b, rows differ in length."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, CacheLayerMixin, DynamicCache


class _Batch:
    """The rows of the next forward, and where each writes."""

    def __init__(self) -> None:
        self.first = 0
        self.lengths: list[int] = []
        self.positions = torch.empty(0, dtype=torch.long)  # (B, 1): first free position
        self.rows = torch.empty(0, dtype=torch.long)  # (B, 1)
        self.index: dict[int, Tensor] = {}  # number of heads -> (B * heads,) places in a flattened layer


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
        """Write one new position for each row, (B, heads, 1, dim); all rows up to the longest, (B, heads, L, dim)."""
        assert key_states.shape[2] == 1, "prefill uses its own cache"
        index = self._index()
        self._flat_keys.index_copy_(0, index, key_states.reshape(-1, key_states.shape[-1]))
        self._flat_values.index_copy_(0, index, value_states.reshape(-1, value_states.shape[-1]))
        batch = self._batch
        rows = slice(batch.first, batch.first + len(batch.lengths))
        length = self.get_seq_length() + 1
        return self.keys[rows, :, :length], self.values[rows, :, :length]

    def _index(self) -> Tensor:
        _, num_heads, length, _ = self.keys.shape
        if num_heads not in self._batch.index:
            heads = self._batch.rows * num_heads + torch.arange(num_heads, device=self.device)  # (B, heads)
            self._batch.index[num_heads] = (heads * length + self._batch.positions).flatten()
        return self._batch.index[num_heads]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.get_seq_length() + query_length, 0

    def get_seq_length(self) -> int:
        return max(self._batch.lengths, default=0)

    def get_max_length(self) -> int:
        return int(self.keys.shape[2])


class SlotCache(Cache):  # type: ignore[misc]  # transformers has no types
    """For decode steps only. A prompt is read with transformers' own cache and then copied in by `write`."""

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
        self._places = torch.arange(max_length, device=self.layers[0].device)

    @property
    def num_bytes(self) -> int:
        return sum(layer.keys.nbytes + layer.values.nbytes for layer in self.layers)

    def write(self, row: int, prompt: DynamicCache) -> None:
        for layer, source in zip(self.layers, prompt.layers, strict=True):
            length = source.keys.shape[2]
            layer.keys[row, :, :length] = source.keys[0]
            layer.values[row, :, :length] = source.values[0]

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

    def select(self, lengths: list[int], positions: Tensor, first: int = 0) -> Tensor:
        """Choose rows `first`, `first` + 1, ... of these lengths, also given as a tensor (B, 1), for the next forward.

        Returns the additive attention mask (B, 1, 1, longest + 1): each row sees its own past and its new token.
        """
        batch = self._batch
        batch.first, batch.lengths, batch.positions, batch.index = first, lengths, positions, {}
        batch.rows = torch.arange(first, first + len(lengths), device=positions.device).view(-1, 1)
        layer = self.layers[0]
        is_future = self._places[: max(lengths) + 1] > positions  # (B, L)
        mask = torch.zeros(is_future.shape, dtype=layer.dtype, device=layer.device)
        return mask.masked_fill_(is_future, float("-inf"))[:, None, None]

    def within(self, mask: Tensor, positions: Tensor, window: int) -> Tensor:
        """A mask of `select`, narrowed to each row's last `window` positions, the new token's own included."""
        is_out = self._places[: mask.shape[-1]] <= positions - window  # (B, L)
        return mask.masked_fill(is_out[:, None, None], float("-inf"))
