"""`client.reviews`: corrections in quarantine, and a reviewer's word on each. Needs the admin scope."""

from __future__ import annotations

import builtins
from typing import Literal

from openai import AsyncOpenAI, OpenAI

from .calls import Call, segment
from .types import WaitingCorrection, WaitingList


def waiting(limit: int, after: int) -> Call[WaitingList]:
    return Call("get", f"/reviews?limit={limit}&after={after}", WaitingList)


def review(correction_id: str, decision: Literal["release", "reject"]) -> Call[WaitingCorrection]:
    # Not repeated on its own: a correction is reviewed once, so a second try would only be refused.
    path = f"/reviews/{segment(correction_id, 'correction_id')}"
    return Call("post", path, WaitingCorrection, {"decision": decision}, is_retried=False)


class Reviews:
    def __init__(self, client: OpenAI) -> None:
        self._client = client

    def list(self, *, limit: int = 100, after: int = 0) -> builtins.list[WaitingCorrection]:
        """Those that wait, the oldest first; `after` is the `sequence` of the last one of the page before."""
        return waiting(limit, after).send(self._client).data

    def release(self, correction_id: str) -> WaitingCorrection:
        """It teaches from the next run on.

        Raises `openai.NotFoundError`, and `openai.ConflictError` where it does not wait.
        """
        return review(correction_id, "release").send(self._client)

    def reject(self, correction_id: str) -> WaitingCorrection:
        """It never teaches; adapters that learned from it before it was held leave service. Raises as `release`."""
        return review(correction_id, "reject").send(self._client)


class AsyncReviews:
    def __init__(self, client: AsyncOpenAI) -> None:
        self._client = client

    async def list(self, *, limit: int = 100, after: int = 0) -> builtins.list[WaitingCorrection]:
        """As `Reviews.list`."""
        return (await waiting(limit, after).send_async(self._client)).data

    async def release(self, correction_id: str) -> WaitingCorrection:
        """As `Reviews.release`."""
        return await review(correction_id, "release").send_async(self._client)

    async def reject(self, correction_id: str) -> WaitingCorrection:
        """As `Reviews.reject`."""
        return await review(correction_id, "reject").send_async(self._client)
