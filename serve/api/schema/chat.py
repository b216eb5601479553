"""What is asked: messages and how to answer them. OpenAI's names; what is not supported is refused."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from .body import Body, Unicode
from .corrections import MAX_AUTHOR


class TextPart(Body):
    type: Literal["text"]
    text: Unicode


class ImageURL(Body):
    url: str
    detail: str | None = None


class ImagePart(Body):
    type: Literal["image_url"]
    image_url: ImageURL


Part = Annotated[TextPart | ImagePart, Field(discriminator="type")]


def _form(content: object) -> str:
    return "text" if isinstance(content, str) else "parts"


# told apart by its form, so that an error names the part that is wrong and not the form that was not meant
Content = Annotated[
    Annotated[Unicode, Tag("text")] | Annotated[list[Part], Field(min_length=1), Tag("parts")],
    Discriminator(_form),
]


class _Nullable(Body):
    @model_validator(mode="before")
    @classmethod
    def _null_is_not_given(cls, body: Any) -> Any:
        """OpenAI's fields may be null, which means their default."""
        return {k: v for k, v in body.items() if v is not None} if isinstance(body, dict) else body


class ChatMessage(_Nullable):
    role: Literal["system", "user", "assistant"]
    content: Content
    name: str | None = None


class StreamOptions(_Nullable):
    include_usage: bool = False


TokenId = Annotated[str, Field(pattern="^[0-9]{1,9}$")]
Penalty = Annotated[float, Field(ge=-2, le=2)]
MetadataKey = Annotated[Unicode, Field(max_length=64)]
MetadataValue = Annotated[Unicode, Field(max_length=512)]

CHANGES_NOTHING: dict[str, tuple[Any, ...]] = {
    "response_format": ({"type": "text"},),
    "modalities": (["text"],),
    "tools": ([],),
    "tool_choice": ("none", "auto"),
    "parallel_tool_calls": (True, False),
    "functions": ([],),
    "function_call": ("none", "auto"),
    "service_tier": ("auto", "default"),
    "reasoning_effort": ("none",),
}
"""What OpenAI's clients and those who wrap them send by default: these values ask for nothing, others are refused."""


class ChatRequest(_Nullable):
    model: str
    messages: list[ChatMessage] = Field(min_length=1)
    stream: bool = False
    stream_options: StreamOptions | None = None
    max_tokens: int | None = Field(None, ge=1)
    max_completion_tokens: int | None = Field(None, ge=1)
    temperature: float = Field(1.0, ge=0, le=2)
    top_p: float = Field(1.0, gt=0, le=1)
    top_k: int = Field(
        0, ge=0, lt=2**31, description="Of the likeliest tokens, how many may be drawn; 0: all"
    )
    min_p: float = Field(
        0.0, ge=0, le=1, description="Least probability of a token that may be drawn, over the likeliest's"
    )
    presence_penalty: Penalty = 0.0
    frequency_penalty: Penalty = 0.0
    logit_bias: dict[TokenId, Annotated[float, Field(ge=-100, le=100)]] = Field(
        {}, max_length=1024, json_schema_extra={"additionalProperties": False}
    )
    logprobs: bool = False
    top_logprobs: int | None = Field(None, ge=0, le=20, description="With logprobs only")
    seed: int | None = Field(None, ge=-(2**63), lt=2**63)
    stop: Unicode | list[Unicode] | None = None
    n: int = Field(
        1, ge=1, le=8, description="Answers to the same prompt; their seeds are seed, seed + 1, ..."
    )
    store: bool = Field(True, description="Whether a record is kept; without one there can be no correction")
    user: Unicode | None = Field(None, max_length=512)
    metadata: dict[MetadataKey, MetadataValue] = Field({}, max_length=16)
    feedback_token: bool = Field(
        False,
        description="Whether each answer brings a token with which a browser may correct it for some hours",
    )

    @property
    def stop_strings(self) -> tuple[str, ...]:
        stops = [self.stop] if isinstance(self.stop, str) else self.stop or []
        return tuple(stop for stop in stops if stop)

    @model_validator(mode="before")
    @classmethod
    def _leave_out_what_changes_nothing(cls, body: Any) -> Any:
        if not isinstance(body, dict):
            return body
        return {k: v for k, v in body.items() if v not in CHANGES_NOTHING.get(k, ())}

    @model_validator(mode="after")
    def _fits_together(self) -> ChatRequest:
        if len(self.stop_strings) > 4:
            raise ValueError("at most four stop strings")
        if self.top_logprobs is not None and not self.logprobs:
            raise ValueError("top_logprobs needs logprobs: true")
        if self.feedback_token and not self.store:
            raise ValueError("feedback_token needs store: true; what has no record cannot be corrected")
        if self.feedback_token and len(self.user or "") > MAX_AUTHOR:
            raise ValueError(
                f"with feedback_token, user is the author of corrections: at most {MAX_AUTHOR} characters"
            )
        return self
