"""What the server asks of an engine, in plain values, so that another engine can take its place."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from align.conversation import Conversation

BASE = "base"
"""The adapter version that stands for no adapter."""

FinishReason = Literal["stop", "length", "cancelled", "error"]


@dataclass(frozen=True)
class Sampling:
    """How to choose tokens. Temperature 0 is greedy. `stop` strings end the answer and are cut from its text.

    A token's logit is changed by its bias and, where it was sampled before, by the penalties: minus
    `presence_penalty`, and minus `frequency_penalty` for each time (OpenAI's formula). The result is divided by the
    temperature; of its distribution the `top_k` likeliest stay, of these the smallest set that holds `top_p` of their
    probability, and of these what has at least `min_p` of the likeliest one's.
    """

    max_tokens: int
    temperature: float = 1.0
    top_p: float = 1.0
    seed: int | None = None
    stop: tuple[str, ...] = ()
    top_k: int = 0
    """0: all."""
    min_p: float = 0.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    """By token id."""
    top_logprobs: int | None = None
    """How many alternatives to tell with each token's log-probability; None tells none of it."""


@dataclass(frozen=True)
class ScoredToken:
    token_id: int
    encoded: bytes
    """Its text in UTF-8; a token may be a part of a character."""
    logprob: float
    """Natural, by the model's own distribution: before bias, penalties, temperature and cuts."""


@dataclass(frozen=True)
class TokenLogprobs:
    sampled: ScoredToken
    likeliest: tuple[ScoredToken, ...]
    """The likeliest first; the sampled one may be among them."""


@dataclass(frozen=True)
class Delta:
    """What one step added to one sequence. The last one has a finish reason, and only it.

    The texts of all deltas, joined, are the served text; the token ids, joined, are every id that was sampled
    (an end-of-sequence id at the end included). `text` may be empty: half of a character is held back.
    `logprobs`, where they were asked for, has an entry for each token id but that of the end, which is no text.
    """

    token_ids: tuple[int, ...]
    text: str
    finish_reason: FinishReason | None = None
    error: str | None = None
    logprobs: tuple[TokenLogprobs, ...] = ()
    num_reused_tokens: int = 0
    """In the first one: tokens of the prompt that were not read, since an earlier prompt began with them."""


class Prompt(Protocol):
    """Model inputs made from a conversation; opaque outside the engine."""

    @property
    def num_tokens(self) -> int: ...


@dataclass(frozen=True)
class EngineStats:
    num_running: int
    num_waiting: int
    num_slots: int
    max_waiting: int
    num_generated_tokens: int
    num_prompt_tokens: int
    adapters: tuple[str, ...]


@dataclass(frozen=True)
class EngineSetup:
    """What was chosen at the start, by the settings or by itself: for people to read."""

    device: str
    dtype: str
    attention: str
    num_threads: int
    num_sequences: int  # at once
    max_model_len: int  # tokens, prompt and answer together
    cache_bytes: int  # of their keys and values
    num_adapter_slots: int
    max_rank: int


class Engine(Protocol):
    setup: EngineSetup
    max_model_len: int
    """Prompt and answer together, in tokens."""

    def prepare(self, conversation: Conversation, images: Mapping[str, bytes]) -> Prompt:
        """Model inputs, made in the caller's thread. Raises `InvalidPrompt` (say why) where it cannot be."""

    def submit(
        self, prompt: Prompt, sampling: Sampling, adapter: str, on_delta: Callable[[Delta], None]
    ) -> str:
        """Queue a sequence, pinned to `adapter` until its last token; returns its id.

        `on_delta` is called from the engine's thread and must not block. Raises `EngineFull` when the queue is full,
        `InvalidPrompt` when prompt and `max_tokens` can never fit, `InvalidRequest` when `logit_bias` names an id that
        is no token, `UnknownAdapter` when the version is not loaded.
        """

    def cancel(self, sequence_id: str) -> None:
        """End a sequence at the next step (finish reason `cancelled`); nothing if it has ended."""

    def load(self, version: str, folder: Path) -> None:
        """Read a PEFT adapter into a free slot while others run. Raises `align.errors.InvalidAdapter`, `EngineFull`."""

    def unload(self, version: str) -> None:
        """Take no more sequences for it; its slot is free when the last one ends. Nothing if it is not loaded."""

    def stats(self) -> EngineStats: ...

    def check(self) -> None:
        """Raises `ServeError` where only a new process can help: nothing moves any more, or nothing ever will."""

    def close(self) -> None:
        """End all sequences with an error and stop the thread."""
