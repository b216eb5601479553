"""How a model of transformers attends and counts positions, as far as rows of branches must tell it themselves.

Reads configs, asks the model for the positions of images, and computes nothing else.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from .branches import BranchedRows, visible
from .rendering import Rendered


class Attention:
    """`why_not` says why a mask of our own cannot be given to the model, or is None."""

    def __init__(self, base: Any) -> None:
        self._base = base
        config = base.config.get_text_config()
        self._implementation = config._attn_implementation
        self._windows = _windows(config)
        self.why_not = self._reason(base)

    def inputs(self, rows: BranchedRows, prompts: Sequence[Rendered]) -> dict[str, Any]:
        """`input_ids`, `attention_mask` and `position_ids` for the model's forward."""
        device = self._base.device
        branch, positions = rows.branch.to(device), rows.positions.to(device)
        return {
            "input_ids": rows.input_ids.to(device),
            "attention_mask": self._masks(branch, positions, _image_blocks(prompts, branch)),
            "position_ids": self._position_ids(prompts, positions),
        }

    def _reason(self, base: Any) -> str | None:
        if self._implementation not in ("sdpa", "eager"):
            return f"{self._implementation} attention takes no mask of ours; load the model with sdpa"
        if unknown := set(self._windows) - {"full_attention", "sliding_attention"}:
            return f"its layers of {', '.join(sorted(unknown))} read a sequence in one order only"
        if "position_ids" not in inspect.signature(base.forward).parameters:
            return "its forward takes no position_ids"
        return None

    def _masks(self, branch: Tensor, positions: Tensor, blocks: Tensor | None) -> Tensor | dict[str, Tensor]:
        """One mask (B, 1, S, S), or one for each kind of layer where they differ."""
        masks = {
            kind: self._encoded(visible(branch, positions, blocks, window))
            for kind, window in self._windows.items()
        }
        return masks if len(masks) > 1 else next(iter(masks.values()))

    def _encoded(self, seen: Tensor) -> Tensor:
        if self._implementation == "sdpa":
            return seen[:, None]
        hidden = torch.finfo(self._base.dtype).min  # eager attention adds the mask to its scores
        return torch.zeros(seen.shape, dtype=self._base.dtype, device=seen.device).masked_fill(~seen, hidden)[
            :, None
        ]

    def _position_ids(self, prompts: Sequence[Rendered], positions: Tensor) -> Tensor:
        """(B, S), or (3, B, S) for models that place an image's tokens in rows and columns (M-RoPE)."""
        rope_index = getattr(getattr(self._base, "model", None), "get_rope_index", None)
        if rope_index is None:
            return positions
        placed = positions.expand(3, -1, -1).clone()
        names = inspect.signature(rope_index).parameters
        for row, prompt in enumerate(prompts):
            if not prompt.image_ids and "image_grid_thw" not in prompt.tensors:
                continue
            input_ids = torch.tensor([prompt.input_ids])
            tensors = {name: tensor for name, tensor in prompt.tensors.items() if name in names}
            of_prompt, shift = rope_index(input_ids=input_ids, **tensors)
            placed[:, row] += int(shift)
            placed[:, row, : prompt.num_tokens] = of_prompt[:, 0].to(placed.device)
        return placed


def _windows(config: Any) -> dict[str, int | None]:
    """Each kind of attention among the layers, with how far back it sees; None is without end."""
    window = getattr(config, "sliding_window", None)
    if getattr(config, "use_sliding_window", True) is False:
        window = None
    kinds = set(getattr(config, "layer_types", None) or ())
    if not kinds:
        return {"full_attention": window}  # where layers have no kinds, a window is that of all
    return {kind: window if kind == "sliding_attention" else None for kind in sorted(kinds)}


def _image_blocks(prompts: Sequence[Rendered], branch: Tensor) -> Tensor | None:  # (B, S)
    """Numbers of the images whose tokens see each other both ways: those that `token_type_ids` mark."""
    if not any("token_type_ids" in prompt.tensors for prompt in prompts):
        return None
    is_image = torch.zeros_like(branch, dtype=torch.bool)
    for row, prompt in enumerate(prompts):
        if "token_type_ids" in prompt.tensors:
            is_image[row, : prompt.num_tokens] = (prompt.tensors["token_type_ids"][0] == 1).to(branch.device)
    starts = is_image & ~torch.nn.functional.pad(is_image, (1, 0))[:, :-1]
    return torch.where(is_image, starts.cumsum(1), -1)
