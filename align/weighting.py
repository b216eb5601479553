"""Which tokens of a pair RLHF-V's released code weighs as corrected: a diff of token ids, not of what a person marked.

Knows nothing of tokenizers or spans. The paper's own reading (Eq. 5) is in `pairs.py`, since it follows from the spans.
"""

from __future__ import annotations

from collections.abc import Sequence
from difflib import SequenceMatcher

MIN_BLOCK = 3
"""Tokens. A shorter run that both answers share counts as changed, if something beside it changed."""
_PROMPT = (-1, -2, -3)
"""The code diffs prompt and answer together, so that their common start belongs to a block of any length."""


def differing_tokens(
    chosen: Sequence[int], rejected: Sequence[int]
) -> tuple[tuple[bool, ...], tuple[bool, ...]]:
    """For each token of the chosen and of the rejected answer, whether it weighs gamma.

    A stretch between two shared blocks is marked only where it holds tokens on **both** sides, so a pure deletion or
    insertion weighs nothing extra.
    """
    left, right = (*_PROMPT, *chosen), (*_PROMPT, *rejected)
    marked_left, marked_right = [False] * len(left), [False] * len(right)
    start_left = start_right = 0
    # "autojunk" stays on, as there: an answer of 200 tokens or more ignores its commonest ones
    for block in SequenceMatcher(None, left, right).get_matching_blocks():
        is_end = block.size == 0
        if block.size < MIN_BLOCK and not is_end:
            continue
        if block.a > start_left and block.b > start_right:
            marked_left[start_left : block.a] = [True] * (block.a - start_left)
            marked_right[start_right : block.b] = [True] * (block.b - start_right)
        start_left, start_right = block.a + block.size, block.b + block.size
    return tuple(marked_left[len(_PROMPT) :]), tuple(marked_right[len(_PROMPT) :])
