"""Every setting of the rules against abuse. Unknown fields are refused."""

from __future__ import annotations

from typing import Literal, get_args

from pydantic import BaseModel, ConfigDict, Field

Rule = Literal["link", "code", "repeated_insertion", "burst", "daily_cap"]


class _Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ScreeningConfig(_Settings):
    """What holds a correction back until a reviewer, or two others, release it (`align.abuse`).

    Corrections sent with an admin key, or to a server without keys, count as reviewed and are not screened.
    """

    rules: tuple[Rule, ...] = Field(get_args(Rule), description="The rules that are on; all by default.")
    repeated_images: int = Field(
        3, ge=2, description="Different images on which a phrase is inserted before it is looked at."
    )
    repeated_ratio: float = Field(
        4.0,
        ge=1,
        description="How many times as often as others' answers say it a phrase is inserted before it is held.",
    )
    compared_corrections: int = Field(
        5000, ge=1, description="The newest corrections of all sources among which a phrase is counted."
    )
    compared_answers: int = Field(
        1000, ge=1, description="Answers to others, the newest, in which a repeated phrase is looked for."
    )
    burst_size: int = Field(
        20, ge=1, description="Corrections of one source within `burst_s`; more are held."
    )
    burst_s: float = Field(60.0, gt=0, description="Seconds in which a burst is counted.")
    daily_cap: int = Field(500, ge=1, description="Corrections of one source in 24 hours; more are held.")


class SourceShares(_Settings):
    """How much of a training set one source, and the ten largest, may bring. Reviewed corrections are not limited.

    Each holds from twice as many sources on as could just fill the set: 10 % from 20, 30 % from 67.
    """

    one: float = Field(0.1, gt=0, le=1, description="Largest share of one source; 1: no limit.")
    top_ten: float = Field(0.3, gt=0, le=1, description="Largest share of the ten largest; 1: no limit.")
