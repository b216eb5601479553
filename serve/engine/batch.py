"""The sequences that run, one for each row of the cache; one that fails takes no other with it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from collections.abc import Sequence as Ordered
from dataclasses import replace
from typing import TypeAlias

from torch import Tensor

from .failure import NOT_FINITE, is_device_lost, reason
from .logprobs import Scored, log_probabilities
from .long_prompts import LongPrompt
from .protocol import Delta, ScoredToken, TokenLogprobs
from .runner import Runner
from .sampling import Row, sample
from .scheduler import Part, Plan
from .sequence import Sequence
from .vocabulary import Vocabulary

logger = logging.getLogger(__name__)

Forward: TypeAlias = Callable[[tuple[Sequence, ...], int], Tensor]
"""Logits (B, V) of sequences in rows from a first one on."""


class Batch:
    """Rows stay without gaps: where one ends, the last takes its place. A prompt that is read in parts is in the last
    row of the memory until it is read.
    """

    def __init__(self, runner: Runner, vocabulary: Vocabulary) -> None:
        self.sequences: list[Sequence] = []  # by row
        self._long: LongPrompt | None = None
        self._last_row = runner.capacity.num_sequences - 1
        self.is_device_lost = False
        """Whether the device failed in a way that only a new process can mend."""
        self._runner = runner
        self._vocabulary = vocabulary

    @property
    def long(self) -> Sequence | None:
        """Whose prompt is being read in parts."""
        return None if self._long is None else self._long.sequence

    def step(self, plan: Plan) -> list[tuple[Sequence, Delta]]:
        """Every running sequence's next token and every newcomer's first; those that ended are gone from the batch."""
        deltas = self._advance(self._runner.decode, plan.decode, 0)
        begun = [] if plan.part is None else self._read_on(plan.part)
        first_row = len(self.sequences)
        self.sequences += plan.prefill
        begun += self._advance(self._runner.prefill, plan.prefill, first_row)
        deltas += [
            (sequence, replace(delta, num_reused_tokens=sequence.num_reused_tokens))
            for sequence, delta in begun
        ]
        for sequence, delta in deltas:
            if delta.finish_reason == "error":
                self._runner.clear(
                    self.sequences.index(sequence)
                )  # what is not finite would harm the next in its row
            if delta.finish_reason is not None:
                self.remove(sequence)
        return deltas

    def remove(self, sequence: Sequence) -> None:
        """Free a sequence's row; nothing if it has none."""
        if sequence is self.long:
            self._long = None
        if sequence not in self.sequences:
            return
        row = self.sequences.index(sequence)
        last = self.sequences.pop()
        if last is not sequence:
            self._runner.move(len(self.sequences), row, last.num_cached)
            self.sequences[row] = last

    def clear(self) -> None:
        """Free all rows."""
        rows = {*range(len(self.sequences)), self._last_row}
        self.sequences.clear()
        self._long = None
        for row in rows:
            self._runner.clear(row)

    def _read_on(self, part: Part) -> list[tuple[Sequence, Delta]]:
        """Its first token, where the prompt is read now."""
        sequence = part.sequence
        try:
            if self._long is None:
                self._long = self._runner.begin_long(sequence, self._last_row)
            logits = self._long.read(part.num_tokens)
            if logits is None:
                return []
            [(_, delta)] = self._append_tokens(logits, [sequence])
        except Exception as error:
            delta = self._failed(sequence, error)
        self._long = None
        row = len(self.sequences)
        self._runner.move(self._last_row, row, sequence.prompt.num_tokens)
        if delta.finish_reason == "error":
            self._runner.clear(self._last_row)
        self.sequences.append(sequence)
        return [(sequence, delta)]

    def _advance(
        self, forward: Forward, sequences: tuple[Sequence, ...], first_row: int
    ) -> list[tuple[Sequence, Delta]]:
        if not sequences:
            return []
        try:
            return self._append_tokens(forward(sequences, first_row), sequences)
        except Exception:
            logger.exception("A forward of %d sequences failed; trying each alone.", len(sequences))
        return [
            (sequence, self._advance_alone(forward, sequence, row))
            for row, sequence in enumerate(sequences, first_row)
        ]

    def _advance_alone(self, forward: Forward, sequence: Sequence, row: int) -> Delta:
        try:
            [(_, delta)] = self._append_tokens(forward((sequence,), row), [sequence])
        except Exception as error:
            return self._failed(sequence, error)
        return delta

    def _append_tokens(
        self, logits: Tensor, sequences: Ordered[Sequence]
    ) -> list[tuple[Sequence, Delta]]:  # logits: (B, V)
        """All of them or none: what can fail for one comes before the first takes its token."""
        rows = [Row(sequence.sampling, sequence.draw, sequence.adjustments) for sequence in sequences]
        token_ids = sample(logits, rows)
        logprobs = self._logprobs(logits, sequences, token_ids)
        return [
            (sequence, self._append(sequence, token_id, logprobs.get(row, ())))
            for row, (sequence, token_id) in enumerate(zip(sequences, token_ids, strict=True))
        ]

    def _append(self, sequence: Sequence, token_id: int | None, logprobs: tuple[TokenLogprobs, ...]) -> Delta:
        if token_id is None:
            return Delta((), "", "error", NOT_FINITE)
        try:
            return sequence.append(token_id, logprobs)
        except Exception as error:
            return self._failed(sequence, error)

    def _logprobs(
        self, logits: Tensor, sequences: Ordered[Sequence], token_ids: list[int | None]
    ) -> dict[int, tuple[TokenLogprobs, ...]]:
        """By row, of those that asked."""
        asked = [
            (row, token_id, sequence.sampling.top_logprobs)
            for row, (sequence, token_id) in enumerate(zip(sequences, token_ids, strict=True))
            if sequence.sampling.top_logprobs is not None and token_id is not None
        ]
        if not asked:
            return {}
        rows, sampled_ids, counts = zip(*asked, strict=True)
        scores = log_probabilities(logits[list(rows)], sampled_ids, counts)
        return {
            row: (TokenLogprobs(self._spelt(sampled), tuple(map(self._spelt, likeliest))),)
            for row, (sampled, likeliest) in zip(rows, scores, strict=True)
        }

    def _spelt(self, scored: Scored) -> ScoredToken:
        token_id, logprob = scored
        return ScoredToken(token_id, self._vocabulary.encoded(token_id), logprob)

    def _failed(self, sequence: Sequence, error: Exception) -> Delta:
        logger.error("Sequence %s failed; the others go on.", sequence.sequence_id, exc_info=error)
        self.is_device_lost |= is_device_lost(error)
        return Delta((), "", "error", reason(error))
