"""A talk about a picture: what was said, the last answer, and its correction. Knows nothing of what is typed."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from errata import Correction, Errata, Reply, Span, image_url
from openai import PermissionDeniedError
from rich.console import Console
from rich.markup import escape

from ..errors import SettingsError
from ..marked import marked
from .editor import edited
from .output import print_answer, print_json

KINDS = {
    "o": "object",
    "a": "attribute",
    "p": "position",
    "n": "number",
    "c": "action",
    "t": "text",
}
"""By the key that says them; any other is `other`."""


@dataclass(frozen=True)
class Asked:
    """How every question is asked."""

    model: str | None
    temperature: float | None
    max_tokens: int | None
    author: str | None

    @property
    def options(self) -> dict[str, Any]:
        values = {
            "model": self.model,
            "temperature": self.temperature,
            "max_tokens": self.max_tokens,
            "user": self.author,
        }
        return {name: value for name, value in values.items() if value is not None}


class Conversation:
    def __init__(self, client: Errata, asked: Asked, say: Console, as_json: bool) -> None:
        self._client, self._asked, self._say, self._as_json = client, asked, say, as_json
        self._image: str | None = None
        self._said: list[dict[str, Any]] = []
        self._last: Reply | None = None
        self._draft: str | None = None
        """What was made of the last answer, until it is stored."""

    def look_at(self, image: str) -> None:
        """Another picture begins another talk. Raises `OSError`, `UnsupportedImage`."""
        if not image:
            raise SettingsError("name a file: /image photo.png")
        self._image = image_url(image if "://" in image else Path(image).expanduser())
        self.forget()

    def forget(self) -> None:
        self._said, self._last, self._draft = [], None, None

    def ask(self, question: str) -> None:
        """Raises `openai.OpenAIError`; what was said until then stays."""
        image = self._image if not self._said else None
        options: dict[str, Any] = {**self._asked.options, "history": self._said}
        with self._client.stream(question, image=image, **options) as pieces:
            for piece in pieces:
                if not self._as_json:
                    self._say.out(piece, end="", highlight=False)
        reply = self._last = pieces.reply
        self._draft = None
        content: Any = question
        if image is not None:
            content = [{"type": "image_url", "image_url": {"url": image}}, {"type": "text", "text": question}]
        self._said += [{"role": "user", "content": content}, {"role": "assistant", "content": reply.text}]
        if self._as_json:
            print_json(
                {
                    "id": reply.response_id,
                    "text": reply.text,
                    "adapter": reply.adapter,
                    "finish_reason": reply.finish_reason,
                }
            )
        else:
            end = "" if reply.finish_reason == "stop" else f", cut off ({reply.finish_reason})"
            self._say.print(f"\n[dim]{reply.adapter}{end}[/]", highlight=False)

    def approve(self) -> None:
        self._tell(self._answer.approve(author=self._asked.author))

    def correct(self) -> None:
        """Opens the editor, shows what is understood, asks for the kinds, and sends. What failed is there next time."""
        reply = self._answer
        text = self._draft = edited(self._draft or reply.text)
        if text == reply.text:
            self._say.print("nothing was changed, and nothing sent; /right says that nothing was wrong")
            return
        preview = self._client.feedback.preview(
            reply.response_id, corrected_text=text, served_text=reply.text, author=self._asked.author
        )
        self._say.print(marked(reply.text, preview.spans, is_styled=self._say.is_terminal))
        spans = [self._with_kind(reply.text, span) for span in preview.spans]
        made = self._client.feedback.create(
            reply.response_id,
            corrected_text=text,
            spans=spans,
            served_text=reply.text,
            author=self._asked.author,
        )
        self._draft = None
        self._tell(made)

    @property
    def _answer(self) -> Reply:
        if self._last is None:
            raise SettingsError("there is no answer yet; ask something first")
        return self._last

    def _with_kind(self, served: str, span: Span) -> Span:
        """By one letter from a person; piped in, as it was understood."""
        if not sys.stdin.isatty():
            return span
        edit = f"{served[span.start : span.end]!r} -> {span.replacement!r}"
        keys = ", ".join(f"{key} {kind}" for key, kind in KINDS.items())
        try:
            pressed = self._say.input(f"{escape(edit)} is about ({keys}, Enter: other): ")
        except EOFError:  # Ctrl+D is no answer, as Enter is none
            pressed = ""
        return span.model_copy(update={"kind": KINDS.get(pressed.strip().lower()[:1], span.kind)})

    def _tell(self, made: Correction) -> None:
        if self._as_json:
            print_answer(made)
            return
        for span in made.spans:
            edit = f"{span.kind}: {made.served_text[span.start : span.end]!r} -> {span.replacement!r}"
            self._say.print(f"  {escape(edit)}", highlight=False)
        follows = (
            self._what_follows() if made.status == "accepted" else WHAT_FOLLOWS.get(made.status, made.status)
        )
        self._say.print(f"[green]stored[/] {made.id}: {escape(follows)}", soft_wrap=True)

    def _what_follows(self) -> str:
        """When it counts, for a key that may ask."""
        try:
            run = self._client.statistics(days=1).next_run
        except PermissionDeniedError:
            return "the next run learns from it"
        return f"the next run learns from it; {run.new_corrections} of the {run.needed} that start one"


WHAT_FOLLOWS = {
    "quarantined": "a reviewer looks at it first",
    "nothing_wrong": "nothing was wrong; it counts for the rates",
}
