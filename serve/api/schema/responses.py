"""The record of an answer."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field

from .body import Body, Unicode
from .corrections import CorrectionAnswer


class ResponseRecord(BaseModel):
    """What was asked, what was answered, with what, and what was found wrong with it. Not OpenAI's Responses API."""

    id: str
    object: Literal["response.record"] = "response.record"
    created: int
    model: str
    adapter: str = Field(
        description="The version that answered; `imported` where a dataset brought the answer"
    )
    messages: list[dict[str, Any]] = Field(description="Parts are texts, and images by their SHA-256")
    images: list[str] = Field(description="SHA-256 of each image, once, in the order of the messages")
    text: str
    num_tokens: int = Field(description="Of the answer, the one that ends it included")
    num_prompt_tokens: int
    finish_reason: str
    sampling: dict[str, Any]
    timings: dict[str, float] = Field(description="Seconds")
    key_id: str = Field(description="Whose answer it is")
    user: str | None
    metadata: dict[str, str]
    corrections: list[CorrectionAnswer] = Field(
        description="The newest 100, the newest first; GET /feedback?response_id=... has all"
    )


class ResponseFilter(Body):
    """Which answers: all that is given has to apply."""

    adapter: Unicode | None = Field(None, description="Version that gave the answer: v0001, or base")
    model: Unicode | None = None
    user: Unicode | None = Field(None, description="As the request named them")
    created_from: float | None = Field(None, allow_inf_nan=False, description="Seconds since the epoch")
    created_before: float | None = Field(None, allow_inf_nan=False, description="Seconds since the epoch")


class ResponseQuery(ResponseFilter):
    corrected: bool | None = Field(
        None, description="Whether anybody said anything about it, even that nothing is wrong"
    )
    limit: int = Field(100, ge=1, le=1000)
    after: str | None = Field(None, description="`last_id` of the page before")


class ResponseSummary(BaseModel):
    id: str
    object: Literal["response.summary"] = "response.summary"
    created: int
    model: str
    adapter: str
    question: str = Field(description="The text of the last message of the user")
    text: str
    images: list[str] = Field(description="SHA-256 of each image, once")
    user: str | None
    num_corrections: int = Field(
        description="All that were not erased, those that say nothing is wrong included"
    )


class ResponseList(BaseModel):
    """A page, as OpenAI's clients turn them."""

    object: Literal["list"] = "list"
    data: list[ResponseSummary]
    first_id: str | None
    last_id: str | None
    has_more: bool


class ResponseLink(BaseModel):
    """For one person who is to correct one answer."""

    object: Literal["response.link"] = "response.link"
    response_id: str
    token: str = Field(description="A feedback token of this answer")
    path: str = Field(
        description="Of the page, on this server. The token stands after the `#`: browsers send that to no server"
    )
    expires: int = Field(description="Seconds since the epoch")
