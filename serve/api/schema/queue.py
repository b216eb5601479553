"""The queue: answers that wait for a look, one at a time to each who looks."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from .body import Body, Unicode
from .responses import ResponseFilter, ResponseRecord

HolderName = Annotated[Unicode, Field(min_length=1, max_length=100)]


class ClaimRequest(ResponseFilter):
    """The next answer that fits, or with `response_id` that one, whether it fits or not."""

    holder: HolderName = Field(
        description="Made up by who looks, one for each window; a key's holders are its own"
    )
    response_id: Unicode | None = None
    after: Unicode | None = Field(None, description="The id of the answer from which to go on")
    direction: Literal["next", "previous"] = Field(
        "next",
        description="next: older than `after`, the newest of them; previous: newer, the oldest of them",
    )
    corrected: bool | None = Field(
        False, description="Whether anybody said anything about it, even that nothing is wrong; null: either"
    )


class ClaimQuery(Body):
    holder: HolderName


class ClaimAnswer(BaseModel):
    object: Literal["queue.claim"] = "queue.claim"
    response: ResponseRecord | None = Field(
        description="None: there is no other that fits and that nobody holds"
    )
    holder: str
    expires: int | None = Field(description="Seconds since the epoch; claim it again before, to keep it")
    num_waiting: int = Field(
        description="Answers that fit and that nobody else holds, wherever they stand; at most 10,000 are counted"
    )


class ReleaseAnswer(BaseModel):
    object: Literal["queue.release"] = "queue.release"
    response_id: str
    holder: str
    was_held: bool = Field(description="Whether this holder still held it")
