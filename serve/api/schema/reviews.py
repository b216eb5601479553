"""Corrections in quarantine, and what a reviewer says of one."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field

from .body import Body


class ReviewRequest(Body):
    decision: Literal["release", "reject"]


class WaitingCorrection(BaseModel):
    """A correction in quarantine, or one that a reviewer has just settled."""

    id: str
    object: Literal["correction"] = "correction"
    response_id: str
    created: int
    sequence: int
    status: str
    reason: str = Field(description="The code of the rule that found something")
    explanation: str
    questioned: list[str] = Field(description="The inserted phrases that are in question")
    source: str
    author: str | None
    served_text: str
    corrected_text: str
    spans: list[dict[str, Any]]


class WaitingList(BaseModel):
    object: Literal["list"] = "list"
    data: list[WaitingCorrection]
