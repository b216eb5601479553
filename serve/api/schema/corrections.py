"""What was wrong with an answer, as it is said and as it is stored."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field, model_validator

from align.formats.export_format import ExportFormat
from align.spans import KINDS
from align.state.corrections import STATUSES

from .body import Body, Unicode

MAX_AUTHOR = 200
"""Code points."""


class SpanBody(Body):
    start: int = Field(ge=0, description="First code point of the served text to replace")
    end: int = Field(ge=0, description="One past the last")
    replacement: Unicode
    kind: Literal[KINDS] = "other"  # type: ignore[valid-type]  # the one list of kinds is align.spans.KINDS


class CorrectionRequest(Body):
    """The corrected text, or spans, or both; `spans: []` alone says that nothing was wrong."""

    response_id: Unicode
    corrected_text: Unicode | None = None
    spans: list[SpanBody] | None = None
    author: Unicode | None = Field(None, max_length=MAX_AUTHOR)
    served_sha256: str | None = Field(
        None,
        pattern="^[0-9a-f]{64}$",
        description="SHA-256 of the text that is corrected, in UTF-8: refused where another one was served",
    )

    @model_validator(mode="after")
    def _says_something(self) -> CorrectionRequest:
        if self.corrected_text is None and self.spans is None:
            raise ValueError(
                "give corrected_text, or spans, or both; an empty list of spans: nothing is wrong"
            )
        return self


class CorrectionAnswer(BaseModel):
    id: str
    object: Literal["correction"] = "correction"
    response_id: str
    created: int
    status: str
    reason: str | None = Field(description="Why it is, or once was, quarantined")
    served_text: str
    corrected_text: str
    spans: list[dict[str, Any]]
    adapter: str
    author: str | None


class CorrectionPreview(BaseModel):
    """What would be stored; nothing is."""

    object: Literal["correction.preview"] = "correction.preview"
    response_id: str
    status: str = Field(description="That it would get now")
    reason: str | None = Field(description="Why it would be quarantined")
    served_text: str
    corrected_text: str
    spans: list[dict[str, Any]]
    adapter: str
    author: str | None


class CorrectionOptions(Body):
    dryrun: bool = Field(False, description="Check everything and show the spans, but store nothing")


class CorrectionQuery(Body):
    """All that is given has to apply."""

    status: Literal[STATUSES] | None = None  # type: ignore[valid-type]  # as for KINDS
    reason: str | None = Field(None, description="Code of the rule that put it into quarantine")
    author: str | None = None
    response_id: str | None = None
    adapter: str | None = Field(None, description="Version that gave the answer: v0001, or base")
    created_from: float | None = Field(None, allow_inf_nan=False, description="Seconds since the epoch")
    created_before: float | None = Field(None, allow_inf_nan=False, description="Seconds since the epoch")
    limit: int = Field(100, ge=1, le=1000)
    after: str | None = Field(None, description="`last_id` of the page before")


class ExportQuery(Body):
    format: ExportFormat


class CorrectionList(BaseModel):
    """A page, as OpenAI's clients turn them."""

    object: Literal["list"] = "list"
    data: list[CorrectionAnswer]
    first_id: str | None
    last_id: str | None
    has_more: bool


class UseAnswer(BaseModel):
    version: str
    role: Literal["train", "held_out", "general"] = Field(description="train: it taught; the others judged")
    status: str
    is_tainted: bool


class CorrectionStory(CorrectionAnswer):
    """With what came of it."""

    used_by: list[UseAnswer] = Field(description="Adapter versions, the newest first")
