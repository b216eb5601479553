"""An engine in plain Python: says scripted words, one a step, and stops or fails where a test wants it to."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from align.conversation import Conversation, Image, Text
from serve.engine.protocol import (
    BASE,
    Delta,
    EngineSetup,
    EngineStats,
    FinishReason,
    Prompt,
    Sampling,
    ScoredToken,
    TokenLogprobs,
)
from serve.errors import EngineFull, InvalidPrompt, UnknownAdapter


@dataclass(frozen=True)
class FakePrompt:
    num_tokens: int


@dataclass
class Speaker:
    """One sequence: the words it still has to say."""

    words: list[str]
    on_delta: Callable[[Delta], None]
    is_cancelled: bool = False
    thread: threading.Thread | None = None


SETUP = EngineSetup("paper", "words", "none", 1, 6, 64, 2**20, 3, 8)


@dataclass
class FakeEngine:
    """Every version says `answers[version]`, or a sentence with its own name in it."""

    answers: dict[str, str] = field(default_factory=dict)
    setup: EngineSetup = SETUP
    max_model_len: int = 64
    max_waiting: int = 8
    num_slots: int = 6
    load_failures: dict[str, Exception] = field(default_factory=dict)
    submit_failure: Exception | None = None
    check_failure: Exception | None = None
    error_after: int | None = None  # words, then the sequence fails
    num_reused_tokens: int = 0  # of each prompt, which its first word tells
    prepared: list[tuple[Conversation, dict[str, bytes]]] = field(default_factory=list)
    submitted: list[tuple[Sampling, str]] = field(default_factory=list)
    cancelled: list[str] = field(default_factory=list)
    is_closed: bool = False

    def __post_init__(self) -> None:
        self.condition = threading.Condition()
        self.is_speaking = True  # False: sequences stop after their first word
        self.is_loading = True  # False: `load` blocks
        self.is_in_load = threading.Event()
        self.loaded: dict[str, Path] = {}
        self.speakers: dict[str, Speaker] = {}

    def hold(self) -> None:
        """Let sequences say their first word and no other, until `go_on`."""
        with self.condition:
            self.is_speaking = False

    def hold_loads(self) -> None:
        with self.condition:
            self.is_loading = False

    def go_on(self) -> None:
        with self.condition:
            self.is_speaking = self.is_loading = True
            self.condition.notify_all()

    def text(self, adapter: str) -> str:
        return self.answers.get(adapter, f"By {adapter}: a red cup and a fork.")

    def prepare(self, conversation: Conversation, images: Mapping[str, bytes]) -> Prompt:
        parts = [part for message in conversation.messages for part in message.parts]
        words = sum(len(part.text.split()) for part in parts if isinstance(part, Text))
        num_tokens = words + sum(4 for part in parts if isinstance(part, Image))
        if num_tokens >= self.max_model_len:
            raise InvalidPrompt(f"the prompt has {num_tokens} tokens")
        self.prepared.append((conversation, dict(images)))
        return FakePrompt(num_tokens)

    def submit(
        self, prompt: Prompt, sampling: Sampling, adapter: str, on_delta: Callable[[Delta], None]
    ) -> str:
        if self.submit_failure is not None:
            raise self.submit_failure
        if prompt.num_tokens + sampling.max_tokens > self.max_model_len:
            raise InvalidPrompt("prompt and answer never fit")
        with self.condition:
            if adapter not in (BASE, *self.loaded):
                raise UnknownAdapter(f"{adapter} is not loaded")
            if len(self.speakers) >= self.max_waiting:
                raise EngineFull("the queue is full")
            sequence_id = uuid.uuid4().hex
            speaker = Speaker(_words(self.text(adapter)), on_delta)
            self.speakers[sequence_id] = speaker
            self.submitted.append((sampling, adapter))
        speaker.thread = threading.Thread(target=self._speak, args=(sequence_id, speaker, sampling))
        speaker.thread.start()
        return sequence_id

    def cancel(self, sequence_id: str) -> None:
        with self.condition:
            if sequence_id in self.speakers:
                self.cancelled.append(sequence_id)
                self.speakers[sequence_id].is_cancelled = True
                self.condition.notify_all()

    def load(self, version: str, folder: Path) -> None:
        self.is_in_load.set()
        with self.condition:
            self.condition.wait_for(lambda: self.is_loading or self.is_closed)
            if self.is_closed:
                raise EngineFull("the engine is closing")
            if version in self.load_failures:
                raise self.load_failures[version]
            if len(self.loaded) >= self.num_slots:
                raise EngineFull("no adapter slot is free")
            self.loaded[version] = folder

    def unload(self, version: str) -> None:
        with self.condition:
            self.loaded.pop(version, None)

    def stats(self) -> EngineStats:
        with self.condition:
            return EngineStats(len(self.speakers), 0, 4, self.max_waiting, 0, 0, tuple(self.loaded))

    def check(self) -> None:
        if self.check_failure is not None:
            raise self.check_failure

    def close(self) -> None:
        with self.condition:
            self.is_closed = True
            self.condition.notify_all()
            threads = [speaker.thread for speaker in self.speakers.values() if speaker.thread is not None]
        for thread in threads:
            thread.join()

    def _speak(self, sequence_id: str, speaker: Speaker, sampling: Sampling) -> None:
        num_words = len(speaker.words)
        for index, word in enumerate(speaker.words[: sampling.max_tokens]):
            if index > 0:
                with self.condition:
                    self.condition.wait_for(
                        lambda: self.is_speaking or speaker.is_cancelled or self.is_closed
                    )
            if speaker.is_cancelled:
                return self._end(sequence_id, "cancelled")
            if self.is_closed or index == self.error_after:
                return self._end(sequence_id, "error", "the fake engine broke")
            num_reused = self.num_reused_tokens if index == 0 else 0
            logprobs = _logprobs(index, word, sampling)
            self._say(speaker, Delta((index,), word, logprobs=logprobs, num_reused_tokens=num_reused))
        return self._end(sequence_id, "stop" if num_words <= sampling.max_tokens else "length")

    def _say(self, speaker: Speaker, delta: Delta) -> None:
        try:
            speaker.on_delta(delta)
        except RuntimeError:  # the event loop of a client that is gone
            speaker.is_cancelled = True

    def _end(self, sequence_id: str, reason: FinishReason, error: str | None = None) -> None:
        with self.condition:
            speaker = self.speakers.pop(sequence_id)
        self._say(speaker, Delta((999,) if reason == "stop" else (), "", reason, error))


def _logprobs(index: int, word: str, sampling: Sampling) -> tuple[TokenLogprobs, ...]:
    """The word's is minus its index; the alternatives are the same word, each less likely by one."""
    if sampling.top_logprobs is None:
        return ()
    tokens = [ScoredToken(index, word.encode(), -float(index + n)) for n in range(sampling.top_logprobs)]
    return (TokenLogprobs(ScoredToken(index, word.encode(), -float(index)), tuple(tokens)),)


def _words(text: str) -> list[str]:
    """`"a b"` -> `["a", " b"]`; joined they are the text."""
    words = text.split(" ")
    return [words[0], *(f" {word}" for word in words[1:])]
