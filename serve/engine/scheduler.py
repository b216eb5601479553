"""Who works in the next step: a pure decision over the queue and the batch. Knows no tensors."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from .sequence import Sequence


@dataclass(frozen=True)
class Plan:
    prefill: tuple[Sequence, ...]
    """Read their prompts, together where they can be, and sample their first tokens."""
    decode: tuple[Sequence, ...]
    """Sample their next tokens, all together."""


def schedule(
    waiting: Iterable[Sequence], running: Iterable[Sequence], num_rows: int, max_prefill_tokens: int
) -> Plan:
    """First come, first served. Running sequences get a token in every step; `max_prefill_tokens` bounds how long
    newcomers make them wait, but the first in the queue is read whenever there is a place, however long it is.
    """
    decode = tuple(running)
    num_free = num_rows - len(decode)
    prefill: list[Sequence] = []
    num_tokens = 0
    for sequence in waiting:
        num_tokens += sequence.prompt.num_tokens
        if len(prefill) == num_free or (prefill and num_tokens > max_prefill_tokens):
            break
        prefill.append(sequence)
    return Plan(tuple(prefill), decode)
