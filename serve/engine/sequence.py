"""One request's answer as it grows: its tokens, its text and why it ended. Knows no tensors beyond its prompt."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import replace
from typing import Any

from align.detokenizer import Detokenizer
from align.rendering import Rendered

from .protocol import Delta, FinishReason, Sampling, TokenLogprobs
from .stopping import StopStrings


class Sequence:
    """`num_cached` counts the positions that key/value memory holds: all but the last sampled token."""

    def __init__(
        self,
        sequence_id: str,
        prompt: Rendered,
        sampling: Sampling,
        version: str,
        slot: int,
        on_delta: Callable[[Delta], None],
        tokenizer: Any,
        eos_token_ids: Collection[int],
    ) -> None:
        self.sequence_id = sequence_id
        self.prompt = prompt
        self.sampling = sampling
        self.version = version
        self.slot = slot
        self.on_delta = on_delta
        self.num_read = 0
        """Tokens of a prompt that is too long for one step which are read."""
        self.position_offset = 0
        """What a model that counts images otherwise than by tokens adds to the position of a sampled token."""
        self.num_reused_tokens = 0
        """Of the prompt, what was read for an earlier one."""
        self.is_cancelled = False
        self.num_sampled = 0
        self.adjustments = dict(sampling.logit_bias)
        """What is added to logits before the next token is chosen: bias less penalties, by token id."""
        self.last_token_id = -1
        self._eos_token_ids = eos_token_ids
        self._detokenizer = Detokenizer(tokenizer)
        self._stop = StopStrings(sampling.stop)
        self._random = random.Random(None if sampling.seed is None else sampling.seed % 2**64)  # -1 is not 1
        self.draw = self._random.random()
        """In [0, 1), for the next token; of this sequence's own generator, whatever else is in the batch."""
        self._counts: Counter[int] = Counter()  # of penalised tokens

    @property
    def num_unread(self) -> int:
        return self.prompt.num_tokens - self.num_read

    @property
    def num_cached(self) -> int:
        return self.prompt.num_tokens + self.num_sampled - 1

    def append(self, token_id: int, logprobs: tuple[TokenLogprobs, ...] = ()) -> Delta:
        """Take a sampled token: what it adds to the text, and whether the answer ends with it."""
        if self.num_sampled == 0:  # the prompt is read, and its pixels may be most of what a sequence holds
            self.prompt = replace(self.prompt, tensors={})
        self.num_sampled += 1
        self.last_token_id = token_id
        self.draw = self._random.random()
        if token_id in self._eos_token_ids:
            return Delta((token_id,), self._flush(), "stop")
        self._penalise(token_id)
        text = self._stop.push(self._detokenizer.push(token_id))
        reason: FinishReason | None = "stop" if self._stop.is_met else None
        if reason is None and self.num_sampled >= self.sampling.max_tokens:
            text += self._flush()
            reason = "stop" if self._stop.is_met else "length"
        return Delta((token_id,), text, reason, logprobs=logprobs)

    def end(self, reason: FinishReason, error: str | None = None) -> Delta:
        """The last delta of an answer that is broken off; text that was held back comes with it."""
        return Delta((), self._flush(), reason, error)

    def _penalise(self, token_id: int) -> None:
        sampling = self.sampling
        if sampling.presence_penalty or sampling.frequency_penalty:
            self._counts[token_id] += 1
            penalty = sampling.presence_penalty + self._counts[token_id] * sampling.frequency_penalty
            self.adjustments[token_id] = sampling.logit_bias.get(token_id, 0.0) - penalty

    def _flush(self) -> str:
        return self._stop.push(self._detokenizer.flush()) + self._stop.flush()
