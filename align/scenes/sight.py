"""The vision tower's first lesson: what stands in each cell, from the picture alone. Knows nothing about language.

Each patch tells its cell, too: without that the language model took long to find out where things stand. The heads
are thrown away afterwards. What the tower knows is the truth, so the errors of the model come from its language, as
they do in large models.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from .lexicon import COLOURS, KINDS
from .tokenizer import NUM_IMAGE_TOKENS
from .world import NUM_CELLS, Scene

_NUM_CLASSES = (len(KINDS) + 1, len(COLOURS) + 1, 3, NUM_CELLS)
_SIDE = int(NUM_IMAGE_TOKENS**0.5)


class SightHeads(nn.Module):
    """From each patch's features: kind, colour and number of what stands in its cell (0: nothing), and the cell."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.heads = nn.ModuleList(nn.Linear(width, num) for num in _NUM_CLASSES)

    def forward(self, features: torch.Tensor) -> list[torch.Tensor]:
        normed = self.norm(features)  # (B, patches, width)
        return [head(normed) for head in self.heads]


def patch_features(vision_tower: Any, pixel_values: torch.Tensor) -> torch.Tensor:
    """The features that the language model gets to see: the last layer, without the class token."""
    hidden: torch.Tensor = vision_tower(pixel_values, output_hidden_states=True).hidden_states[-1]
    return hidden[:, 1:]


def sight_loss(logits: Sequence[torch.Tensor], scenes: Sequence[Scene]) -> torch.Tensor:
    targets = _patch_targets(scenes)  # (B, patches, 4)
    losses = [F.cross_entropy(head.flatten(0, 1), targets[..., i].flatten()) for i, head in enumerate(logits)]
    return torch.stack(losses).sum()


def sight_accuracy(logits: Sequence[torch.Tensor], scenes: Sequence[Scene]) -> float:
    """The share of patches of which kind, colour, number and cell are all right."""
    targets = _patch_targets(scenes)
    right = torch.stack([head.argmax(-1) == targets[..., i] for i, head in enumerate(logits)]).all(0)
    return float(right.float().mean())


def _patch_targets(scenes: Sequence[Scene]) -> torch.Tensor:
    cells = torch.zeros((len(scenes), NUM_CELLS, 4), dtype=torch.long)
    cells[:, :, 3] = torch.arange(NUM_CELLS)
    for row, scene in enumerate(scenes):
        for item in scene.items:
            codes = (KINDS.index(item.kind) + 1, COLOURS.index(item.colour) + 1, item.count, item.cell)
            cells[row, item.cell] = torch.tensor(codes)
    grid = cells.view(len(scenes), 3, 3, 4)
    return grid.repeat_interleave(_SIDE // 3, 1).repeat_interleave(_SIDE // 3, 2).flatten(1, 2)
