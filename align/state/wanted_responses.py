"""Which answers are looked for, as a plain value that becomes conditions of a query."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, select

from . import schema

IMPORTED = "imported"
"""In the place of an adapter version where a dataset brought the answer: no version of this server gave it."""


@dataclass(frozen=True)
class WantedResponses:
    """Of the answers that this server gave and still has, those to which all that is given applies.

    Times are seconds since the epoch.
    """

    adapter: str | None = None
    model: str | None = None
    user: str | None = None
    answered_to: str | None = None  # the id of the key
    corrected: bool | None = None  # whether anybody said anything about it, even that nothing is wrong
    created_from: float | None = None
    created_before: float | None = None

    def conditions(self) -> list[ColumnElement[bool]]:
        responses = schema.responses.c
        asked: list[tuple[Any, Callable[[Any], ColumnElement[bool]]]] = [
            (self.adapter, responses.adapter.__eq__),
            (self.model, responses.model.__eq__),
            (self.user, responses.user.__eq__),
            (self.answered_to, responses.key_id.__eq__),
            (self.corrected, _is_corrected),
            (self.created_from, responses.created.__ge__),
            (self.created_before, responses.created.__lt__),
        ]
        given = [holds(value) for value, holds in asked if value is not None]
        return [responses.status == "kept", responses.adapter != IMPORTED, *given]


def _is_corrected(is_corrected: bool) -> ColumnElement[bool]:
    corrections = schema.corrections.c
    said = select(corrections.id).where(
        corrections.response_id == schema.responses.c.id, corrections.status != "erased"
    )
    return said.exists() if is_corrected else ~said.exists()
