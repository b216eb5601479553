"""Where a model's tokens see only the last few before them: read from its config. Knows no tensors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

FULL, SLIDING = "full_attention", "sliding_attention"
"""transformers' names for kinds of layers, and for the masks of each."""


@dataclass(frozen=True)
class Window:
    num_positions: int
    """A token sees itself and the `num_positions` - 1 before it."""
    is_everywhere: bool
    """Whether in all layers, or only in those that the config calls sliding."""


def sliding_window(text_config: Any) -> Window | None:
    layer_types = getattr(text_config, "layer_types", None)
    num_positions = getattr(text_config, "sliding_window", None)
    if not num_positions or (layer_types is not None and SLIDING not in layer_types):
        return None
    return Window(num_positions, is_everywhere=layer_types is None)
