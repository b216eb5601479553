"""What each version answers where there is no other: by an engine in this process that holds that version alone."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from serve.engine.engine import TransformersEngine
from serve.engine.protocol import BASE, Delta, Sampling
from serve.errors import EngineFailed

from .questions import Question


@dataclass(frozen=True)
class Reference:
    text: str
    token_ids: tuple[int, ...]


References = Mapping[str, Sequence[Reference]]
"""By version, one for each question."""


@dataclass
class _Listener:
    deltas: list[Delta] = field(default_factory=list)
    ended: threading.Event = field(default_factory=threading.Event)

    def __call__(self, delta: Delta) -> None:
        self.deltas.append(delta)
        if delta.finish_reason is not None:
            self.ended.set()

    def reference(self) -> Reference:
        self.ended.wait()
        if self.deltas[-1].finish_reason == "error":
            raise EngineFailed(f"no reference answer: {self.deltas[-1].error}")
        token_ids = tuple(token_id for delta in self.deltas for token_id in delta.token_ids)
        return Reference("".join(delta.text for delta in self.deltas), token_ids)


def references(
    model: str, folders: Mapping[str, Path | None], questions: Sequence[Question], max_tokens: int
) -> dict[str, list[Reference]]:
    """`folders` are those of the adapters, none for the base. Greedy. Raises `EngineFailed`, `InvalidAdapter`."""
    return {
        version: _answers_of(model, version, folder, questions, max_tokens)
        for version, folder in folders.items()
    }


def _answers_of(
    model: str, version: str, folder: Path | None, questions: Sequence[Question], max_tokens: int
) -> list[Reference]:
    engine = TransformersEngine.from_pretrained(model)
    try:
        if folder is not None:
            engine.load(version, folder)
        listeners = [_Listener() for _ in questions]
        for question, listener in zip(questions, listeners, strict=True):
            prompt = engine.prepare(question.conversation, question.images)
            adapter = BASE if folder is None else version
            engine.submit(prompt, Sampling(max_tokens, temperature=0.0), adapter, listener)
        return [listener.reference() for listener in listeners]
    finally:
        engine.close()
