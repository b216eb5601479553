"""What was learned, and which version answers whom."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from pydantic import BaseModel, Field

from .alignments import AlignmentAnswer
from .body import Body


class PromoteRequest(Body):
    share: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="Part of the people who meet it, as a candidate beside the live version: 0.001 is one per mille. "
        "Who is told apart by the request's `user`, else by its key. None: all",
    )


class ComparedVersion(BaseModel):
    version: str
    answers: int = Field(description="That ended long enough ago to be compared")
    corrected: int
    corrected_per_1000: float | None
    ended: int = Field(description="Answers that came to an end, good or bad")
    failed: int
    failed_per_1000: float | None

    @classmethod
    def of(cls, version: str, corrected: Sequence[bool], failed: Sequence[bool]) -> ComparedVersion:
        return cls(
            version=version,
            answers=len(corrected),
            corrected=sum(corrected),
            corrected_per_1000=1000 * sum(corrected) / len(corrected) if corrected else None,
            ended=len(failed),
            failed=sum(failed),
            failed_per_1000=1000 * sum(failed) / len(failed) if failed else None,
        )


class ComparisonAnswer(BaseModel):
    """How a new version stands. It is rolled back where the evidence of one kind reaches the threshold."""

    object: Literal["adapter.comparison"] = "adapter.comparison"
    kind: Literal["canary", "live"] = Field(
        description="canary: a candidate against the live version; live: against the one that was live before"
    )
    version: ComparedVersion
    other: ComparedVersion
    num_answers: int = Field(description="Of the new version, after which it has stood the test")
    evidence_corrected: float
    evidence_failed: float
    threshold: float


class RolloutAnswer(BaseModel):
    generation: int
    live: str
    candidate: str | None
    share: float
    phase: str
    reason: str | None
    effective_at: float | None
    is_judged: bool = Field(
        description="Whether the new version is compared with the other, and may be rolled back"
    )


class AdapterAnswer(BaseModel):
    version: str
    object: Literal["adapter"] = "adapter"
    status: str
    created: int
    digest: str
    run_id: str
    report: dict[str, Any]
    tainted: int | None = Field(
        description="Since when something that it learned from or was judged by is erased or rejected"
    )


class Change(BaseModel):
    """From the live adapter to this one, with the ends of its interval."""

    estimate: float | None
    low: float | None
    high: float | None


class AdapterSummary(BaseModel):
    version: str
    object: Literal["adapter"] = "adapter"
    status: str
    created: int
    digest: str
    run_id: str
    tainted: int | None = Field(
        description="Since when something that it learned from or was judged by is erased or rejected"
    )
    num_pairs: int | None = Field(description="Corrections that it learned from")
    verdict: str | None = Field(description="The gate's: admitted, refused or held")
    reasons: list[str] = Field(description="The gate's, in words and numbers")
    figures: dict[str, Change] = Field(
        description="The changes that the verdict rests on, as far as they were measured"
    )


class AdapterList(BaseModel):
    object: Literal["list"] = "list"
    data: list[AdapterSummary]
    rollout: RolloutAnswer
    in_force: RolloutAnswer


class AdapterStoryAnswer(AdapterAnswer):
    """Where a version comes from, and what it did."""

    run: AlignmentAnswer
    manifest: dict[str, Any] = Field(
        description="What the run was made from: corrections, split, config, seed, digests"
    )
    erased: list[str] = Field(description="What of the manifest was erased since")
    rollouts: list[RolloutAnswer] = Field(description="All that named it, the oldest first")
    num_responses: int = Field(description="Answers that it gave")
