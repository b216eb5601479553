"""Who works in the next step: a pure decision over the queue and the batch. Knows no tensors."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from .sequence import Sequence


@dataclass(frozen=True)
class Part:
    sequence: Sequence
    num_tokens: int


@dataclass(frozen=True)
class Plan:
    prefill: tuple[Sequence, ...]
    """Read their prompts, together where they can be, and sample their first tokens."""
    decode: tuple[Sequence, ...]
    """Sample their next tokens, all together."""
    part: Part | None = None
    """Read on in the one prompt that is too long for a step, and sample its first token if that was the rest."""

    @property
    def begun(self) -> tuple[Sequence, ...]:
        """Whose prompts are read in this step, wholly or on."""
        return self.prefill if self.part is None else (self.part.sequence, *self.prefill)


def schedule(
    waiting: Iterable[Sequence],
    running: Iterable[Sequence],
    long: Sequence | None,
    num_rows: int,
    max_prefill_tokens: int,
) -> Plan:
    """First come, first served. Running sequences get a token in every step, and `max_prefill_tokens` bounds how long
    prompts make them wait: one that is longer is read in several steps, and only one such at a time, `long`.
    """
    decode = tuple(running)
    num_free = num_rows - len(decode) - (long is not None)
    num_left = max_prefill_tokens
    part = None
    if long is not None:
        part = Part(long, min(long.num_unread, num_left))
        num_left -= part.num_tokens
    prefill: list[Sequence] = []
    for sequence in waiting:
        if len(prefill) == num_free:
            break
        num_tokens = sequence.num_unread
        if num_tokens > max_prefill_tokens and part is None and num_left > 0:
            part = Part(sequence, num_left)
            break
        if num_tokens > num_left:
            break
        prefill.append(sequence)
        num_left -= num_tokens
    return Plan(tuple(prefill), decode, part)
