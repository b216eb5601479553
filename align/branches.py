"""A pair as one sequence: prompt and common words once, then the chosen ending, then the rejected one.

A mask keeps the two endings from seeing each other, and both count their positions on from the common words: each
sees exactly what it would see in a sequence of its own. Knows token ids and positions, but no model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile

import torch
from torch import Tensor

from .logprobs import pad_rows
from .pairs import Pair

PADDING, TRUNK, CHOSEN, REJECTED = range(4)


@dataclass(frozen=True)
class Branches:
    """How one pair parts. The last token of each answer is only predicted, never read, so its ending lacks it."""

    common: tuple[int, ...]
    chosen: tuple[int, ...]
    rejected: tuple[int, ...]
    predictors: tuple[list[int], list[int]]
    """For each token of either answer, the place of its predictor, counted from the prompt's last token."""

    @classmethod
    def of(cls, pair: Pair) -> Branches:
        chosen, rejected = pair.chosen.token_ids, pair.rejected.token_ids
        same = takewhile(lambda tokens: tokens[0] == tokens[1], zip(chosen, rejected, strict=False))
        num_common = sum(1 for _ in same)
        ending = chosen[num_common:-1]
        places = range(len(rejected))
        of_rejected = [place if place <= num_common else place + len(ending) for place in places]
        predictors = list(range(len(chosen))), of_rejected
        return cls(chosen[:num_common], ending, rejected[num_common:-1], predictors)


@dataclass(frozen=True)
class BranchedRows:
    """Rows of branches, padded on the right."""

    input_ids: Tensor  # (B, S)
    branch: Tensor  # (B, S) PADDING, TRUNK, CHOSEN or REJECTED
    positions: Tensor  # (B, S) as each branch counts them
    predicts: Tensor  # (B, S) bool
    predictors: tuple[list[list[int]], list[list[int]]]
    """Of chosen and rejected answers: which of all predicting positions, row by row, predicts each token."""


def branched_rows(prompts: Sequence[Sequence[int]], rows: Sequence[Branches]) -> BranchedRows:
    ids: list[list[int]] = []
    branch: list[list[int]] = []
    positions: list[list[int]] = []
    predictors: tuple[list[list[int]], list[list[int]]] = ([], [])
    num_predictors = 0
    for prompt, row in zip(prompts, rows, strict=True):
        num_trunk = len(prompt) + len(row.common)
        ids.append([*prompt, *row.common, *row.chosen, *row.rejected])
        branch.append([TRUNK] * num_trunk + [CHOSEN] * len(row.chosen) + [REJECTED] * len(row.rejected))
        after = [range(num_trunk, num_trunk + len(ending)) for ending in (row.chosen, row.rejected)]
        positions.append([*range(num_trunk), *after[0], *after[1]])
        for side, places in zip(predictors, row.predictors, strict=True):
            side.append([num_predictors + place for place in places])
        num_predictors += len(ids[-1]) - len(prompt) + 1
    input_ids, is_read = pad_rows(ids)
    starts = torch.tensor([len(prompt) - 1 for prompt in prompts])
    is_after_prompt = torch.arange(input_ids.shape[1]) >= starts[:, None]
    return BranchedRows(
        input_ids, pad_rows(branch)[0], pad_rows(positions)[0], is_after_prompt & is_read.bool(), predictors
    )


def visible(
    branch: Tensor, positions: Tensor, blocks: Tensor | None = None, window: int | None = None
) -> Tensor:  # (B, S, S) bool: the query in a row of the matrix sees the key in a column
    """Causal attention within the trunk and from each ending to it.

    `blocks` (B, S) numbers the tokens that see each other both ways (those of one image, in some models), with -1
    for all others. `window` is how far back a sliding attention sees, itself included.
    """
    order = torch.arange(branch.shape[1], device=branch.device)
    seen = order[:, None] >= order
    if blocks is not None:
        seen = seen | (blocks[:, :, None] == blocks[:, None, :]) & (blocks >= 0)[:, :, None]
    is_shared = (branch == TRUNK)[:, None, :] | (branch[:, None, :] == branch[:, :, None])
    seen = seen & is_shared
    if window is not None:
        seen = seen & (positions[:, :, None] - positions[:, None, :] < window)
    return seen
