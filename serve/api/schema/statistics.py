"""Counts of answers and corrections."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

from .body import Body


class StatisticsQuery(Body):
    days: int = Field(30, ge=1, le=366, description="The last days, today included")


class DayAnswer(BaseModel):
    """The corrections of a day are those that were sent on it, by what became of them."""

    date: str = Field(description="Of UTC: 2026-01-31")
    answers: int
    accepted: int
    quarantined: int
    rejected: int
    nothing_wrong: int


class VersionAnswer(BaseModel):
    """A version's answers of all times, and of them those that were corrected; with the 95 % interval by Wilson."""

    version: str
    answers: int
    corrected: int = Field(description="With an accepted correction")
    nothing_wrong: int = Field(description="Of which somebody said that nothing is wrong")
    corrected_per_1000: float
    low: float = Field(description="Per 1,000")
    high: float = Field(description="Per 1,000")


class NextRun(BaseModel):
    new_corrections: int = Field(description="That no run has seen yet")
    needed: int = Field(description="So many start a run by themselves")
    is_running: bool


class StatisticsAnswer(BaseModel):
    """Of what this server answered, but for what somebody erased; what was imported counts for the next run only."""

    object: Literal["statistics"] = "statistics"
    counted: float = Field(
        description="When counting began, in Unix seconds: of a large store some time ago; `next_run` is of now"
    )
    days: list[DayAnswer] = Field(description="The oldest first")
    kinds: dict[str, int] = Field(description="Accepted spans of these days, by their kind")
    adapters: list[VersionAnswer]
    next_run: NextRun
