"""`client.sources`: whom the corrections came from. Needs the admin scope."""

from __future__ import annotations

from openai import AsyncOpenAI, OpenAI

from .calls import Call, segment
from .types import Erasure


def delete(source_id: str) -> Call[Erasure]:
    return Call("delete", f"/sources/{segment(source_id, 'source_id')}", Erasure)


class Sources:
    def __init__(self, client: OpenAI) -> None:
        self._client = client

    def delete(self, source_id: str) -> Erasure:
        """Forget all that was answered to a key or corrected with it; of KEY/AUTHOR, what that author corrected.

        The key itself stays valid. To repeat it does no harm: the answer is the same.
        """
        return delete(source_id).send(self._client)


class AsyncSources:
    def __init__(self, client: AsyncOpenAI) -> None:
        self._client = client

    async def delete(self, source_id: str) -> Erasure:
        """As `Sources.delete`."""
        return await delete(source_id).send_async(self._client)
