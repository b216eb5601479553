"""The record of an answer."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field

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
