"""Which corrections are looked for, as a plain value that becomes conditions of a query."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement

from . import schema


@dataclass(frozen=True)
class Wanted:
    """Which corrections are looked for: those to which all that is given applies. Times are seconds since the epoch."""

    status: str | None = None
    reason: str | None = None
    author: str | None = None
    response_id: str | None = None
    adapter: str | None = None  # the version that gave the answer
    answered_to: str | None = None  # the id of the key
    created_from: float | None = None
    created_before: float | None = None

    def conditions(self) -> list[ColumnElement[bool]]:
        corrections, responses = schema.corrections.c, schema.responses.c
        asked: list[tuple[Any, Callable[[Any], ColumnElement[bool]]]] = [
            (self.status, corrections.status.__eq__),
            (self.reason, corrections.reason.__eq__),
            (self.author, corrections.author.__eq__),
            (self.response_id, corrections.response_id.__eq__),
            (self.adapter, responses.adapter.__eq__),
            (self.answered_to, responses.key_id.__eq__),
            (self.created_from, corrections.created.__ge__),
            (self.created_before, corrections.created.__lt__),
        ]
        return [holds(value) for value, holds in asked if value is not None]
