"""The bodies of requests and answers. OpenAI's names where OpenAI has them; what is not supported is refused."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Discriminator, Field, Tag, model_validator

from align.spans import KINDS


class Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


def _is_unicode(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError as error:  # JSON can spell half of a surrogate pair, UTF-8 cannot
        raise ValueError("a surrogate without its other half is no character") from error
    return text


Unicode = Annotated[str, AfterValidator(_is_unicode)]


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


class ChatMessage(Body):
    role: Literal["system", "user", "assistant"]
    content: Content
    name: str | None = None


class StreamOptions(Body):
    include_usage: bool = False


class ChatRequest(Body):
    model: str
    messages: list[ChatMessage] = Field(min_length=1)
    stream: bool = False
    stream_options: StreamOptions | None = None
    max_tokens: int | None = Field(None, ge=1)
    max_completion_tokens: int | None = Field(None, ge=1)
    temperature: float = Field(1.0, ge=0, le=2)
    top_p: float = Field(1.0, gt=0, le=1)
    seed: int | None = Field(None, ge=-(2**63), lt=2**63)
    stop: Unicode | list[Unicode] | None = None
    n: Literal[1] = 1
    user: str | None = None
    metadata: dict[str, str] | None = None

    @property
    def stop_strings(self) -> tuple[str, ...]:
        stops = [self.stop] if isinstance(self.stop, str) else self.stop or []
        return tuple(stop for stop in stops if stop)

    @model_validator(mode="before")
    @classmethod
    def _null_is_not_given(cls, body: Any) -> Any:
        """OpenAI's fields may be null, which means their default."""
        return {k: v for k, v in body.items() if v is not None} if isinstance(body, dict) else body

    @model_validator(mode="after")
    def _at_most_four_stops(self) -> ChatRequest:
        if len(self.stop_strings) > 4:
            raise ValueError("at most four stop strings")
        return self


class SpanBody(Body):
    start: int = Field(ge=0, description="First code point of the served text to replace")
    end: int = Field(ge=0, description="One past the last")
    replacement: Unicode
    kind: Literal[KINDS] = "other"  # type: ignore[valid-type]  # the one list of kinds is align.spans.KINDS


class CorrectionRequest(Body):
    """The corrected text, or spans, or both; `spans: []` alone says that nothing was wrong."""

    response_id: str
    corrected_text: Unicode | None = None
    spans: list[SpanBody] | None = None
    author: Unicode | None = Field(None, max_length=200)
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


class UseAnswer(BaseModel):
    version: str
    role: Literal["train", "held_out", "general"] = Field(description="train: it taught; the others judged")
    status: str
    is_tainted: bool


class CorrectionStory(CorrectionAnswer):
    """With what came of it."""

    used_by: list[UseAnswer] = Field(description="Adapter versions, the newest first")


class ErasureAnswer(BaseModel):
    """What is gone, with OpenAI's fields of a deleted completion, and what follows from it."""

    id: str
    object: Literal["chat.completion.deleted", "correction.deleted", "source.deleted"]
    deleted: Literal[True] = True
    responses: list[str]
    corrections: list[str]
    tainted: list[str] = Field(description="Adapter versions that learned from them or were judged by them")
    alignment: str | None = Field(description="The run without them that was asked for")


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


class PromoteRequest(Body):
    share: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="Share of new requests, as a candidate beside the live version; none: all",
    )


class RolloutAnswer(BaseModel):
    generation: int
    live: str
    candidate: str | None
    share: float
    phase: str
    reason: str | None
    effective_at: float | None


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


class AdapterList(BaseModel):
    object: Literal["list"] = "list"
    data: list[AdapterAnswer]
    rollout: RolloutAnswer
    in_force: RolloutAnswer


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


class AdapterStoryAnswer(AdapterAnswer):
    """Where a version comes from, and what it did."""

    run: AlignmentAnswer
    manifest: dict[str, Any] = Field(
        description="What the run was made from: corrections, split, config, seed, digests"
    )
    erased: list[str] = Field(description="What of the manifest was erased since")
    rollouts: list[RolloutAnswer] = Field(description="All that named it, the oldest first")
    num_responses: int = Field(description="Answers that it gave")


class AlignmentList(BaseModel):
    object: Literal["list"] = "list"
    data: list[AlignmentAnswer]


class ModelAnswer(BaseModel):
    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "errata"
    adapter: str
    is_live: bool


class ModelList(BaseModel):
    object: Literal["list"] = "list"
    data: list[ModelAnswer]


class ErrorDetail(BaseModel):
    message: str
    type: str
    param: str | None
    code: str | None


class ErrorAnswer(BaseModel):
    """OpenAI's shape."""

    error: ErrorDetail
