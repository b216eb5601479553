"""What all bodies share: unknown fields are refused, and a text is one that UTF-8 can say."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict


class Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


def _is_unicode(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError as error:  # JSON can spell half of a surrogate pair, UTF-8 cannot
        raise ValueError("a surrogate without its other half is no character") from error
    return text


Unicode = Annotated[str, AfterValidator(_is_unicode)]
