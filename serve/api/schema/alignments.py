"""Runs: how they stand and how they ended."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel


class AlignmentAnswer(BaseModel):
    id: str
    object: Literal["alignment"] = "alignment"
    status: str
    trigger: str
    created: int
    ended: int | None
    num_corrections: int
    progress: dict[str, Any] | None
    reason: str | None
    adapter: str | None
    report: dict[str, Any] | None


class AlignmentList(BaseModel):
    object: Literal["list"] = "list"
    data: list[AlignmentAnswer]
