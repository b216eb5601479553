"""Whether two ways to compute the same scores gave the same: asked before a model is trusted with one of them."""

from __future__ import annotations

import torch
from torch import Tensor

TOLERANCE = {torch.float32: 0.01}
HALF_PRECISION_TOLERANCE = 0.1


def difference(one: Tensor, other: Tensor) -> float:
    """Total variation distance of the distributions that two rows of logits (1, V) say: from 0 to 1."""
    return float((torch.softmax(one.float(), -1) - torch.softmax(other.float(), -1)).abs().sum() / 2)


def agree(one: Tensor, other: Tensor) -> bool:
    """Up to rounding in the precision of the scores. What is not finite agrees with nothing."""
    return difference(one, other) <= TOLERANCE.get(one.dtype, HALF_PRECISION_TOLERANCE)
