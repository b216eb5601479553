"""`client.responses`: what the server keeps of its answers. Takes the place of OpenAI's own `client.responses`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from openai import AsyncOpenAI, OpenAI, RequestOptions
from openai.pagination import AsyncCursorPage, SyncCursorPage
from typing_extensions import TypedDict, Unpack

from .calls import Call, segment
from .types import Erasure, Record, ResponseLink, ResponseSummary

if TYPE_CHECKING:
    from openai._base_client import AsyncPaginator


class Filter(TypedDict, total=False):
    """Which answers: those to which all that is given applies."""

    adapter: str
    """Version that gave the answer."""
    model: str
    user: str
    """As the request named them."""
    corrected: bool
    """Whether anybody said anything about it, even that nothing was wrong."""
    created_from: float
    """Seconds since the epoch, itself included."""
    created_before: float


class Search(Filter, total=False):
    limit: int
    """Size of a page; 100 by default."""


def get(response_id: str) -> Call[Record]:
    return Call("get", _path(response_id), Record)


def delete(response_id: str) -> Call[Erasure]:
    return Call("delete", _path(response_id), Erasure)


def link(response_id: str) -> Call[ResponseLink]:
    return Call("post", f"{_path(response_id)}/link", ResponseLink)


def image(response_id: str, sha256: str) -> Call[bytes]:
    return Call("get", f"{_path(response_id)}/images/{segment(sha256, 'sha256')}", bytes)


def _path(response_id: str) -> str:
    return f"/responses/{segment(response_id, 'response_id')}"


class Responses:
    """Those of this key, or of all keys with the admin scope.

    Each method raises `openai.NotFoundError`, `openai.PermissionDeniedError`, and `ResponseErased`.
    """

    def __init__(self, client: OpenAI) -> None:
        self._client = client

    def list(self, **search: Unpack[Search]) -> SyncCursorPage[ResponseSummary]:
        """Answers in short, the newest first.

        Iterate over it for all of them, page by page as they are needed; `data` is the first page.
        """
        options: RequestOptions = {"params": {**search}}
        page = SyncCursorPage[ResponseSummary]
        return self._client.get_api_list("/responses", model=ResponseSummary, page=page, options=options)

    def get(self, response_id: str) -> Record:
        """What was asked and answered, and what was found wrong with it."""
        return get(response_id).send(self._client)

    def image(self, response_id: str, sha256: str) -> bytes:
        """A picture that was asked about: one of the record's `images`."""
        return image(response_id, sha256).send(self._client)

    def link(self, response_id: str) -> ResponseLink:
        """For one person who is to correct this answer on the server's page, without a key."""
        return link(response_id).send(self._client)

    def delete(self, response_id: str) -> Erasure:
        """Forget an answer with its question, images and corrections, for good. To repeat it does no harm."""
        return delete(response_id).send(self._client)


class AsyncResponses:
    def __init__(self, client: AsyncOpenAI) -> None:
        self._client = client

    def list(
        self, **search: Unpack[Search]
    ) -> AsyncPaginator[ResponseSummary, AsyncCursorPage[ResponseSummary]]:
        """As `Responses.list`: with `async for` all of them, with `await` the first page."""
        options: RequestOptions = {"params": {**search}}
        page = AsyncCursorPage[ResponseSummary]
        return self._client.get_api_list("/responses", model=ResponseSummary, page=page, options=options)

    async def get(self, response_id: str) -> Record:
        """As `Responses.get`."""
        return await get(response_id).send_async(self._client)

    async def image(self, response_id: str, sha256: str) -> bytes:
        """As `Responses.image`."""
        return await image(response_id, sha256).send_async(self._client)

    async def link(self, response_id: str) -> ResponseLink:
        """As `Responses.link`."""
        return await link(response_id).send_async(self._client)

    async def delete(self, response_id: str) -> Erasure:
        """As `Responses.delete`."""
        return await delete(response_id).send_async(self._client)
