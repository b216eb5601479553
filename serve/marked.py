"""An answer for a terminal, with what was struck out of it and what was put in. Knows nothing of who asks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from rich.text import Text


class Edit(Protocol):
    """`served[start:end]` becomes `replacement`; offsets in code points."""

    @property
    def start(self) -> int: ...
    @property
    def end(self) -> int: ...
    @property
    def replacement(self) -> str: ...


def marked(served: str, spans: Sequence[Edit], *, is_styled: bool = True) -> Text:
    """By colour and line, or as [-these-]{+those+}."""
    text, position = Text(), 0
    for span in sorted(spans, key=lambda span: span.start):
        text.append(served[position : span.start])
        removed, inserted = served[span.start : span.end], span.replacement
        if removed:
            text.append(removed if is_styled else f"[-{removed}-]", style="red strike")
        if inserted:
            text.append(inserted if is_styled else f"{{+{inserted}+}}", style="green underline")
        position = span.end
    text.append(served[position:])
    return text
