"""`client.responses`: what the server keeps of its answers. Takes the place of OpenAI's own `client.responses`."""

from __future__ import annotations

from openai import AsyncOpenAI, OpenAI

from .calls import Call, segment
from .types import Erasure, Record


def get(response_id: str) -> Call[Record]:
    return Call("get", _path(response_id), Record)


def delete(response_id: str) -> Call[Erasure]:
    return Call("delete", _path(response_id), Erasure)


def _path(response_id: str) -> str:
    return f"/responses/{segment(response_id, 'response_id')}"


class Responses:
    """Each method raises `openai.NotFoundError`, `openai.PermissionDeniedError`, and `ResponseErased`."""

    def __init__(self, client: OpenAI) -> None:
        self._client = client

    def get(self, response_id: str) -> Record:
        """What was asked and answered, and what was found wrong with it: this key's own, or any with admin."""
        return get(response_id).send(self._client)

    def delete(self, response_id: str) -> Erasure:
        """Forget an answer with its question, images and corrections, for good. To repeat it does no harm."""
        return delete(response_id).send(self._client)


class AsyncResponses:
    def __init__(self, client: AsyncOpenAI) -> None:
        self._client = client

    async def get(self, response_id: str) -> Record:
        """As `Responses.get`."""
        return await get(response_id).send_async(self._client)

    async def delete(self, response_id: str) -> Erasure:
        """As `Responses.delete`."""
        return await delete(response_id).send_async(self._client)
