"""What the model said, with the short way to correct it."""

from __future__ import annotations

from dataclasses import dataclass, field

from openai.types.chat import ChatCompletion

from .errors import WordsAmbiguous, WordsNotFound
from .feedback import AsyncFeedback, Feedback
from .types import Correction, Span


@dataclass(frozen=True)
class Served:
    """An answer as it was served. `adapter` is the version that gave it, `base` for none."""

    text: str
    response_id: str
    adapter: str
    finish_reason: str
    feedback_token: str | None
    """Where it was asked for: in place of a key, a browser may correct this reply with it, for some hours."""

    def __str__(self) -> str:
        return self.text

    def span(self, wrong: str, right: str, kind: str = "other") -> Span:
        """The one place where the words `wrong` stand. Raises `WordsNotFound`, `WordsAmbiguous`."""
        start = self.text.find(wrong) if wrong else -1
        if start < 0:
            raise WordsNotFound(
                f"{wrong!r} is not in the reply; copy the words as they stand in {self.text!r}"
            )
        if self.text.find(wrong, start + 1) >= 0:
            raise WordsAmbiguous(
                f"{wrong!r} stands in the reply more than once; take more of the words around it"
            )
        return Span(start=start, end=start + len(wrong), replacement=right, kind=kind)


def served(completion: ChatCompletion) -> Served:
    choice = completion.choices[0]
    return Served(
        choice.message.content or "",
        completion.id,
        completion.system_fingerprint or "base",
        choice.finish_reason,
        (choice.model_extra or {}).get("feedback_token"),
    )


@dataclass(frozen=True)
class Reply(Served):
    _feedback: Feedback = field(repr=False, compare=False)

    @classmethod
    def of(cls, served: Served, feedback: Feedback) -> Reply:
        return cls(**vars(served), _feedback=feedback)

    def correct(self, corrected_text: str, *, author: str | None = None) -> Correction:
        """What the whole answer should have been; change the wrong words and leave the others."""
        return self._feedback.create(
            self.response_id, corrected_text=corrected_text, author=author, served_text=self.text
        )

    def correct_span(
        self, wrong: str, right: str, *, kind: str = "other", author: str | None = None
    ) -> Correction:
        """Replace words that stand once in the answer. Raises `WordsNotFound`, `WordsAmbiguous`.

        `kind`: object, attribute, position, number, action, text or other.
        """
        return self._feedback.create(
            self.response_id, spans=[self.span(wrong, right, kind)], author=author, served_text=self.text
        )

    def approve(self, *, author: str | None = None) -> Correction:
        """Nothing was wrong with it: worth knowing, too."""
        return self._feedback.create(self.response_id, spans=[], author=author, served_text=self.text)


@dataclass(frozen=True)
class AsyncReply(Served):
    _feedback: AsyncFeedback = field(repr=False, compare=False)

    @classmethod
    def of(cls, served: Served, feedback: AsyncFeedback) -> AsyncReply:
        return cls(**vars(served), _feedback=feedback)

    async def correct(self, corrected_text: str, *, author: str | None = None) -> Correction:
        """As `Reply.correct`."""
        return await self._feedback.create(
            self.response_id, corrected_text=corrected_text, author=author, served_text=self.text
        )

    async def correct_span(
        self, wrong: str, right: str, *, kind: str = "other", author: str | None = None
    ) -> Correction:
        """As `Reply.correct_span`."""
        return await self._feedback.create(
            self.response_id, spans=[self.span(wrong, right, kind)], author=author, served_text=self.text
        )

    async def approve(self, *, author: str | None = None) -> Correction:
        """As `Reply.approve`."""
        return await self._feedback.create(self.response_id, spans=[], author=author, served_text=self.text)
