"""`client.feedback`: say what was wrong with an answer."""

from __future__ import annotations

import uuid
from collections.abc import AsyncGenerator, Generator, Iterable
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from openai import AsyncOpenAI, OpenAI, RequestOptions
from openai.pagination import AsyncCursorPage, SyncCursorPage
from typing_extensions import TypedDict, Unpack

from . import exports
from .calls import Call, segment
from .downloads import download, download_async
from .types import Correction, CorrectionPreview, CorrectionStory, Erasure, Pair, Span

if TYPE_CHECKING:
    from datasets import Dataset
    from openai._base_client import AsyncPaginator


class Said(TypedDict, total=False):
    """What is said to be wrong: `corrected_text` or `spans`, or both; `spans=[]` says that nothing was."""

    corrected_text: str | None
    spans: Iterable[Span] | None
    author: str | None
    served_text: str | None
    """The text that is corrected: the server refuses what was meant for another one."""
    idempotency_key: str | None


def create(response_id: str, said: Said) -> Call[Correction]:
    # The key is made once per call, so that the client's own retries cannot store a correction twice.
    headers = {"Idempotency-Key": said.get("idempotency_key") or str(uuid.uuid4())}
    return Call("post", "/feedback", Correction, _body(response_id, said), headers)


def preview(response_id: str, said: Said) -> Call[CorrectionPreview]:
    key = said.get("idempotency_key")
    headers = {} if key is None else {"Idempotency-Key": key}
    return Call("post", "/feedback?dryrun=true", CorrectionPreview, _body(response_id, said), headers)


def _body(response_id: str, said: Said) -> dict[str, Any]:
    text, spans, served = (said.get("corrected_text"), said.get("spans"), said.get("served_text"))
    if text is None and spans is None:
        raise ValueError("give corrected_text or spans; an empty list of spans says that nothing was wrong")
    return {
        "response_id": response_id,
        "corrected_text": text,
        "spans": None if spans is None else [span.model_dump() for span in spans],
        "author": said.get("author"),
        "served_sha256": None if served is None else sha256(served.encode()).hexdigest(),
    }


class Search(TypedDict, total=False):
    """Which corrections are listed: those to which all that is given applies."""

    status: str
    reason: str
    """Code of the rule that put it into quarantine."""
    author: str
    response_id: str
    adapter: str
    """Version that gave the answer."""
    created_from: float
    """Seconds since the epoch, itself included."""
    created_before: float
    limit: int
    """Size of a page; 100 by default."""


def get(correction_id: str) -> Call[CorrectionStory]:
    return Call("get", f"/feedback/{segment(correction_id, 'correction_id')}", CorrectionStory)


def delete(correction_id: str) -> Call[Erasure]:
    return Call("delete", f"/feedback/{segment(correction_id, 'correction_id')}", Erasure)


class Feedback:
    def __init__(self, client: OpenAI) -> None:
        self._client = client

    def create(self, response_id: str, **said: Unpack[Said]) -> Correction:
        """The correction as stored: when this returns, it is on disk.

        Raises `openai.NotFoundError` for an unknown response, `openai.ConflictError` where the idempotency key came
        with another body, `openai.UnprocessableEntityError` where the correction does not fit the served text.
        """
        return create(response_id, said).send(self._client)

    def preview(self, response_id: str, **said: Unpack[Said]) -> CorrectionPreview:
        """What `create` would store, or raise; nothing is stored."""
        return preview(response_id, said).send(self._client)

    def get(self, correction_id: str) -> CorrectionStory:
        """The correction as it is stored now, and the adapters that learned from it."""
        return get(correction_id).send(self._client)

    def delete(self, correction_id: str) -> Erasure:
        """Forget a correction for good; the answer that it corrects stays. To repeat it does no harm."""
        return delete(correction_id).send(self._client)

    def list(self, **search: Unpack[Search]) -> SyncCursorPage[Correction]:
        """Corrections of this key's answers, of all with the admin scope; the newest first.

        Iterate over it for all of them, page by page as they are needed; `data` is the first page.
        """
        options: RequestOptions = {"params": {**search}}
        return self._client.get_api_list(
            "/feedback", model=Correction, page=SyncCursorPage[Correction], options=options
        )

    def export(self, file: str | Path, *, format: exports.Format = "trl") -> Path:
        """Write the corrections that are learned from as a dataset for another trainer: a tar, with the images.

        What the format cannot say is named in the tar's `failures.jsonl`. Needs the admin scope. Raises
        `openai.ConflictError` where there is nothing to write.
        """
        return download(self._client, exports.path(format), Path(file))

    def rows(self) -> Generator[Pair, None, None]:
        """The corrections that are learned from, one by one as they come in. Needs the admin scope.

        One whose image cannot be read any more is left out; `export` names those. Raises `openai.ConflictError` where
        there is none.
        """
        return exports.pairs(self._client)

    def to_datasets(self) -> Dataset:
        """All of them as a dataset of Hugging Face's library `datasets`, as TRL reads it. Needs the admin scope.

        Raises `ImportError` without that library, `openai.ConflictError` where there is no correction.
        """
        return exports.dataset(self._client)


class AsyncFeedback:
    def __init__(self, client: AsyncOpenAI) -> None:
        self._client = client

    async def create(self, response_id: str, **said: Unpack[Said]) -> Correction:
        """As `Feedback.create`."""
        return await create(response_id, said).send_async(self._client)

    async def preview(self, response_id: str, **said: Unpack[Said]) -> CorrectionPreview:
        """As `Feedback.preview`."""
        return await preview(response_id, said).send_async(self._client)

    async def get(self, correction_id: str) -> CorrectionStory:
        """As `Feedback.get`."""
        return await get(correction_id).send_async(self._client)

    async def delete(self, correction_id: str) -> Erasure:
        """As `Feedback.delete`."""
        return await delete(correction_id).send_async(self._client)

    def list(self, **search: Unpack[Search]) -> AsyncPaginator[Correction, AsyncCursorPage[Correction]]:
        """As `Feedback.list`: with `async for` all of them, with `await` the first page."""
        options: RequestOptions = {"params": {**search}}
        return self._client.get_api_list(
            "/feedback", model=Correction, page=AsyncCursorPage[Correction], options=options
        )

    async def export(self, file: str | Path, *, format: exports.Format = "trl") -> Path:
        """As `Feedback.export`."""
        return await download_async(self._client, exports.path(format), Path(file))

    def rows(self) -> AsyncGenerator[Pair, None]:
        """As `Feedback.rows`, with `async for`."""
        return exports.pairs_async(self._client)

    async def to_datasets(self) -> Dataset:
        """As `Feedback.to_datasets`."""
        return await exports.dataset_async(self._client)
