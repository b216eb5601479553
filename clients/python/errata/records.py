"""`client.records`: what the server keeps of an answer. Not OpenAI's `client.responses`."""

from __future__ import annotations

from openai import AsyncOpenAI, OpenAI

from .calls import Call, segment
from .types import Record


def get(response_id: str) -> Call[Record]:
    return Call("get", f"/responses/{segment(response_id, 'response_id')}", Record)


class Records:
    def __init__(self, client: OpenAI) -> None:
        self._client = client

    def get(self, response_id: str) -> Record:
        """What was asked and answered, and what was found wrong with it: this key's own, or any with the admin scope.

        Raises `openai.NotFoundError`, `openai.PermissionDeniedError`, and `openai.APIStatusError` (410) where it was
        deleted.
        """
        return get(response_id).send(self._client)


class AsyncRecords:
    def __init__(self, client: AsyncOpenAI) -> None:
        self._client = client

    async def get(self, response_id: str) -> Record:
        """As `Records.get`."""
        return await get(response_id).send_async(self._client)
