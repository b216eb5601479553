"""What the server answers. Fields that a newer server adds are kept, and none of them is an error."""

from __future__ import annotations

from typing import Any

from openai import BaseModel

ENDED = ("admitted", "refused", "held", "failed", "promoted")


class Span(BaseModel):
    """Replace `served_text[start:end]` with `replacement`; offsets count Unicode code points, as Python's do."""

    start: int
    end: int
    replacement: str
    kind: str = "other"


class Correction(BaseModel):
    """A correction as it was stored: `accepted`, `quarantined` (kept, not trained on) or `nothing_wrong`."""

    id: str
    response_id: str
    created: int
    status: str
    served_text: str
    corrected_text: str
    spans: list[Span]
    adapter: str
    author: str | None = None


class Erasure(BaseModel):
    """What was erased, and the adapter versions that are `tainted` by it: they learned from it or were judged by it.

    `alignment` is the run without it that was asked for; none where none is needed.
    """

    id: str
    responses: list[str]
    corrections: list[str]
    tainted: list[str]
    alignment: str | None = None


class Adapter(BaseModel):
    """One version of what was learned. `report` holds the gate's measurements, whatever the verdict."""

    version: str
    status: str
    digest: str
    created: int
    run_id: str
    report: dict[str, Any]


class Rollout(BaseModel):
    """Which version answers. `phase`: preparing, committed or abandoned; `share` is the candidate's part of traffic."""

    generation: int
    live: str
    candidate: str | None = None
    share: float = 0.0
    phase: str
    reason: str | None = None


class AdapterList(BaseModel):
    """All versions; `rollout` is the newest rollout, and `in_force` the one that answers until it is committed."""

    data: list[Adapter]
    rollout: Rollout
    in_force: Rollout


class Alignment(BaseModel):
    """A training run. `reason` says why it was refused, held for review or failed; `adapter` is what it published."""

    id: str
    status: str
    created: int
    num_corrections: int
    progress: dict[str, Any] | None = None
    reason: str | None = None
    adapter: str | None = None

    @property
    def is_ended(self) -> bool:
        return self.status in ENDED


class AlignmentList(BaseModel):
    data: list[Alignment]
