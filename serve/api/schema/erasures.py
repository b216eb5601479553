"""What was forgotten, and what follows from it."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field


class ErasureAnswer(BaseModel):
    """What is gone, with OpenAI's fields of a deleted completion, and what follows from it."""

    id: str
    object: Literal["chat.completion.deleted", "correction.deleted", "source.deleted"]
    deleted: Literal[True] = True
    responses: list[str]
    corrections: list[str]
    tainted: list[str] = Field(description="Adapter versions that learned from them or were judged by them")
    alignment: str | None = Field(description="The run without them that was asked for")
