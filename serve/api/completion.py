"""A request's answers as they grow: one record each, so that each can be corrected. Plain values."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from align.conversation import Conversation
from align.state import Key
from serve.engine.protocol import Delta, Sampling, TokenLogprobs
from serve.metrics import Stopwatch

from .deltas import Inbox


@dataclass
class Answer:
    """One sequence, and what has come of it so far."""

    index: int
    response_id: str | None
    """What a correction refers to; none where no record is kept."""
    sampling: Sampling
    feedback_token: str | None = None
    """With which a browser may correct it, where that was asked for."""
    sequence_id: str = ""
    token_ids: list[int] = field(default_factory=list)
    pieces: list[str] = field(default_factory=list)
    logprobs: list[TokenLogprobs] = field(default_factory=list)
    finish_reason: str | None = None
    first_token_s: float | None = None
    last_token_s: float | None = None
    num_reused_tokens: int = 0
    """Of the prompt, what was read for an earlier one."""
    _recording: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @property
    def is_unrecorded(self) -> bool:
        """Whether it ended, said something, and nobody has begun its record."""
        is_whole = self.finish_reason not in (None, "error")
        return is_whole and bool(self.token_ids) and not self._recording.locked()

    def begin_record(self) -> bool:
        """True for the first who asks, from any thread: it records the answer, whoever else was about to."""
        return self._recording.acquire(blocking=False)

    @property
    def text(self) -> str:
        return "".join(self.pieces)

    def take(self, delta: Delta, at_s: float) -> None:
        if delta.token_ids and self.first_token_s is None:
            self.first_token_s = at_s
        self.last_token_s = at_s
        self.token_ids += delta.token_ids
        self.pieces.append(delta.text)
        self.logprobs += delta.logprobs
        self.finish_reason = delta.finish_reason
        self.num_reused_tokens += delta.num_reused_tokens


@dataclass
class Completion:
    """All answers to one request, from one version."""

    id: str
    adapter: str
    key: Key
    conversation: Conversation
    images: Mapping[str, bytes]
    num_prompt_tokens: int
    user: str | None
    metadata: Mapping[str, str]
    is_stored: bool
    answers: list[Answer]
    generation: int | None
    """The rollout that chose the adapter; none where the request named it."""
    inbox: Inbox
    read_s: float = 0.0
    """When its prompt was read, in seconds since it came."""
    traceparent: str | None = None
    request_id: str | None = None
    is_traced: bool = False
    created: float = field(default_factory=time.time)
    watch: Stopwatch = field(default_factory=Stopwatch)

    @property
    def is_ended(self) -> bool:
        return all(answer.finish_reason is not None for answer in self.answers)

    def end_here(self) -> None:
        """With what there is of each answer: nothing more will come."""
        for answer in self.answers:
            answer.finish_reason = answer.finish_reason or "cancelled"

    @property
    def unrecorded(self) -> list[Answer]:
        return [answer for answer in self.answers if answer.is_unrecorded]

    @property
    def has_failed(self) -> bool:
        return any(answer.finish_reason == "error" for answer in self.answers)

    @property
    def headers(self) -> dict[str, str]:
        record = {"x-errata-response-id": self.id} if self.is_stored else {}
        token = self.answers[0].feedback_token
        first = {} if token is None else {"x-errata-feedback-token": token}
        return {**record, "x-errata-adapter": self.adapter, **first}

    @property
    def usage(self) -> dict[str, int]:
        """The prompt counts once, however many answers it has."""
        num_tokens = sum(len(answer.token_ids) for answer in self.answers)
        return {
            "prompt_tokens": self.num_prompt_tokens,
            "completion_tokens": num_tokens,
            "total_tokens": self.num_prompt_tokens + num_tokens,
        }


def response_ids(completion_id: str, count: int) -> list[str]:
    """One for each answer: the first has the completion's own, as where there is only one."""
    return [completion_id, *(f"{completion_id}-{index}" for index in range(1, count))]
