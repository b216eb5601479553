"""The sequences that run, one for each row of the cache; one that fails takes no other with it."""

from __future__ import annotations

import logging

import torch
from torch import Tensor

from .logprobs import Scored, log_probabilities
from .protocol import Delta, ScoredToken, TokenLogprobs
from .runner import Runner
from .sampling import Row, sample
from .scheduler import Plan
from .sequence import Sequence
from .vocabulary import Vocabulary

logger = logging.getLogger(__name__)

NOT_FINITE = "The model gave no finite scores for this sequence; see the server's log."


class Batch:
    """Rows stay without gaps: where one ends, the last takes its place."""

    def __init__(self, runner: Runner, vocabulary: Vocabulary) -> None:
        self.sequences: list[Sequence] = []  # by row
        self._runner = runner
        self._vocabulary = vocabulary

    def step(self, plan: Plan) -> list[tuple[Sequence, Delta]]:
        """Every running sequence's next token and every newcomer's first; those that ended are gone from the batch."""
        logits = [self._decode(plan.decode)] if plan.decode else []
        deltas: list[tuple[Sequence, Delta]] = []
        for sequence in plan.prefill:
            try:
                logits.append(self._runner.prefill(sequence, row=len(self.sequences)))
            except Exception as error:
                logger.exception("Sequence %s failed at its prompt; the others go on.", sequence.sequence_id)
                text = f"The model failed on this prompt ({type(error).__name__}); see the server's log."
                deltas.append((sequence, sequence.end("error", text)))
            else:
                self.sequences.append(sequence)
        if logits:
            deltas += self._append_tokens(torch.cat(logits))
        for sequence, delta in deltas:
            if delta.finish_reason is not None:
                self.remove(sequence)
        return deltas

    def remove(self, sequence: Sequence) -> None:
        """Free a sequence's row; nothing if it has none."""
        if sequence not in self.sequences:
            return
        row = self.sequences.index(sequence)
        last = self.sequences.pop()
        if last is not sequence:
            self._runner.move(len(self.sequences), row, last.num_cached)
            self.sequences[row] = last

    def _append_tokens(self, logits: Tensor) -> list[tuple[Sequence, Delta]]:  # (B, V), by row
        rows = [Row(sequence.sampling, sequence.draw(), sequence.adjustments) for sequence in self.sequences]
        token_ids = sample(logits, rows)
        logprobs = self._logprobs(logits, token_ids)
        return [
            (
                sequence,
                sequence.end("error", NOT_FINITE)
                if token_id is None
                else sequence.append(token_id, logprobs.get(row, ())),
            )
            for row, (sequence, token_id) in enumerate(zip(self.sequences, token_ids, strict=True))
        ]

    def _logprobs(self, logits: Tensor, token_ids: list[int | None]) -> dict[int, tuple[TokenLogprobs, ...]]:
        """By row, of those that asked."""
        asked = [
            (row, token_id, sequence.sampling.top_logprobs)
            for row, (sequence, token_id) in enumerate(zip(self.sequences, token_ids, strict=True))
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

    def _decode(self, sequences: tuple[Sequence, ...]) -> Tensor:
        try:
            return self._runner.decode(sequences)
        except Exception:
            logger.exception("A step of %d sequences failed; trying each alone.", len(sequences))
        alone: list[Tensor | None] = []
        for row, sequence in enumerate(sequences):
            try:
                alone.append(self._runner.decode((sequence,), first_row=row))
            except Exception:
                logger.exception("Sequence %s failed; the others go on.", sequence.sequence_id)
                alone.append(None)
        good = next((logits for logits in alone if logits is not None), None)
        if good is None:
            raise RuntimeError("The model failed for every sequence.")
        failed = torch.full_like(good, float("nan"))
        return torch.cat([failed if logits is None else logits for logits in alone])
