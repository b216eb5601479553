"""What can be asked by name, as OpenAI lists models."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel


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
