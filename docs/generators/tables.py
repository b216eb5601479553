"""Markdown's tables, from rows of texts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cell(one) for one in line)} |" for line in lines) + "\n"


def cell(value: object) -> str:
    """On one line, and without what would end the cell or begin a tag."""
    return " ".join(str(value).replace("|", "\\|").replace("<", "&lt;").split())
