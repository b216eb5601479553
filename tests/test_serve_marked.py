from __future__ import annotations

import io

from rich.console import Console

from align.spans import Span
from serve.marked import marked

SERVED = "Two white flowers and a dog."
SPANS = [Span(21, 27, ""), Span(10, 17, "stars", "object"), Span(28, 28, " It is day.")]


def test_edits_are_told_apart_where_there_is_no_colour() -> None:
    buffer = io.StringIO()
    Console(file=buffer, width=200).print(marked(SERVED, SPANS, is_styled=False))
    assert buffer.getvalue() == "Two white [-flowers-]{+stars+} and[- a dog-].{+ It is day.+}\n"


def test_edits_are_marked_by_style_alone_on_a_terminal() -> None:
    text = marked(SERVED, SPANS)
    assert text.plain == "Two white flowersstars and a dog. It is day."
    styled = {text.plain[span.start : span.end]: span.style for span in text.spans}
    assert styled == {
        "flowers": "red strike",
        "stars": "green underline",
        " a dog": "red strike",
        " It is day.": "green underline",
    }
