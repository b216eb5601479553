"""What can be asked by name, as OpenAI lists models."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

Role = Literal["live", "candidate", "kept", "base"]


class ModelAnswer(BaseModel):
    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "errata"
    adapter: str
    is_live: bool
    role: Role = Field(description="kept: it answers whoever asks for it by name")
    parent: str | None = Field(description="The model that it was trained from; none for the base")
    digest: str | None = Field(description="SHA-256 over the adapter's files; none for the base")


class ModelList(BaseModel):
    object: Literal["list"] = "list"
    data: list[ModelAnswer]
