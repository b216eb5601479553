"""`client.erase`: have the server forget, for good. To repeat it does no harm: the answer is the same."""

from __future__ import annotations

from openai import AsyncOpenAI, OpenAI

from .calls import Call, segment
from .types import Erasure


def response(response_id: str) -> Call[Erasure]:
    return Call("delete", f"/chat/completions/{segment(response_id, 'response_id')}", Erasure)


def correction(correction_id: str) -> Call[Erasure]:
    return Call("delete", f"/feedback/{segment(correction_id, 'correction_id')}", Erasure)


def source(source_id: str) -> Call[Erasure]:
    return Call("delete", f"/sources/{segment(source_id, 'source_id')}", Erasure)


class Erase:
    def __init__(self, client: OpenAI) -> None:
        self._client = client

    def response(self, response_id: str) -> Erasure:
        """An answer with its question, images and corrections: one of this key's own, or any with the admin scope.

        Raises `openai.NotFoundError`, `openai.PermissionDeniedError`.
        """
        return response(response_id).send(self._client)

    def correction(self, correction_id: str) -> Erasure:
        """A correction, and not the answer. Raises as `response` does."""
        return correction(correction_id).send(self._client)

    def source(self, source_id: str) -> Erasure:
        """All that was answered to a key or corrected with it; of KEY/AUTHOR, what that author corrected.

        Needs the admin scope. The key itself stays valid.
        """
        return source(source_id).send(self._client)


class AsyncErase:
    def __init__(self, client: AsyncOpenAI) -> None:
        self._client = client

    async def response(self, response_id: str) -> Erasure:
        """As `Erase.response`."""
        return await response(response_id).send_async(self._client)

    async def correction(self, correction_id: str) -> Erasure:
        """As `Erase.correction`."""
        return await correction(correction_id).send_async(self._client)

    async def source(self, source_id: str) -> Erasure:
        """As `Erase.source`."""
        return await source(source_id).send_async(self._client)
