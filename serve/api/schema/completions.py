"""What is answered: OpenAI's chat completion. Describes what `serve.api.chat` sends; it is not built from these."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field


class AnswerMessage(BaseModel):
    role: Literal["assistant"]
    content: str


class ChoiceAnswer(BaseModel):
    index: int
    message: AnswerMessage
    finish_reason: str
    logprobs: dict[str, Any] | None
    response_id: str | None = Field(
        None, description="What a correction refers to; left out with store=false"
    )
    feedback_token: str | None = Field(None, description="Where it was asked for")


class UsageAnswer(BaseModel):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class CompletionAnswer(BaseModel):
    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    system_fingerprint: str = Field(description="The adapter version that answered")
    choices: list[ChoiceAnswer]
    usage: UsageAnswer
