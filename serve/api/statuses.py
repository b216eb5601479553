"""Which errors a route can answer with, as the OpenAPI document tells it. The shape is the same for all: OpenAI's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .schema import ErrorAnswer

Documented = dict[int | str, dict[str, Any]]


def with_headers(meanings: Mapping[str, str]) -> dict[str, Any]:
    """Of one answer, each with what it says."""
    return {
        "headers": {
            name: {"description": says, "schema": {"type": "string"}} for name, says in meanings.items()
        }
    }


MEANINGS = {
    400: "The request cannot be read as it is; `param` names the field",
    401: "No key, or one that is not known",
    403: "The key may not do this",
    404: "There is no such thing",
    408: "The body came too slowly",
    409: "It does not fit what is there now",
    410: "It was deleted",
    413: "The body is too large",
    422: "Well-formed, but it does not fit what was served, or is beyond a limit",
    429: "The key or the replica has too much to do now; `Retry-After` says when to ask again",
    500: "It failed here; the server's log says more",
    503: "This replica does not hold yet what is asked for, or its database is away; ask again in a moment",
    504: "It took longer than the server allows",
}


HEADERS = {
    401: with_headers({"WWW-Authenticate": "Bearer"}),
    429: with_headers({"Retry-After": "Seconds until it is worth asking again"}),
    503: with_headers({"Retry-After": "Seconds until it is worth asking again"}),
}


def refusals(*statuses: int) -> Documented:
    return {
        status: {"model": ErrorAnswer, "description": MEANINGS[status], **HEADERS.get(status, {})}
        for status in statuses
    }


def content(media_type: str, **schema: str) -> Documented:
    """A 200 that is not JSON. Its route has the class `Response`, else its errors would be said to be like it."""
    return {200: {"content": {media_type: {"schema": {"type": "string", **schema}}}}}


EVERYWHERE = refusals(413, 500, 503)
GUARDED = refusals(401, 403, 429)
"""Of every route that asks for a key."""
WITH_BODY = (400, 408)
"""Of every route that reads a body."""
