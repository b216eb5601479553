"""GET /feedback/export: the corrections that are learned from, as a dataset for another trainer."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import structlog
from fastapi import APIRouter, Depends, Query
from fastapi.responses import Response, StreamingResponse
from starlette.concurrency import run_in_threadpool
from starlette.types import Receive, Scope, Send

from align.formats.preference import Failure
from align.state import Key
from serve.replica import Replica

from .archive import tar_pieces
from .auth import may_administer
from .schema import ExportQuery
from .statuses import Documented, content, refusals

if TYPE_CHECKING:
    from align.formats.exporting import Exported

LEFT_S = 24 * 3600.0
"""A folder that is so old was left by a crash, and is not being sent."""
TAR: Documented = {**content("application/x-tar", format="binary"), **refusals(400, 409)}
log = structlog.get_logger()


def exports_router(replica: Replica) -> APIRouter:
    router, exports = APIRouter(), replica.settings.state / "exports"

    @router.get("/v1/feedback/export", response_class=Response, responses=TAR)
    @router.get("/feedback/export", response_class=Response, responses=TAR)
    async def export(
        query: Annotated[ExportQuery, Query()], _key: Annotated[Key, Depends(may_administer)]
    ) -> TarResponse:
        """A tar with the dataset and its images. What could not be written is named in its `failures.jsonl`."""

        def write() -> tuple[Path, Exported]:
            folder = _make_room(exports)
            try:
                return folder, _write(replica, query, folder / "data")
            except BaseException:
                shutil.rmtree(folder, ignore_errors=True)
                raise

        # a task of its own: where the client hangs up, the thread goes on, and somebody has to hear of its end
        writing = asyncio.ensure_future(run_in_threadpool(write))
        try:
            folder, done = await asyncio.shield(writing)
        except asyncio.CancelledError:
            writing.add_done_callback(_remove_written)
            raise
        log.info(
            "corrections exported", format=query.format, written=done.num_written, failed=done.num_failed
        )
        headers = {"x-errata-exported": str(done.num_written), "x-errata-failed": str(done.num_failed)}
        return TarResponse(folder, f"errata-{query.format}", headers)

    return router


class TarResponse(StreamingResponse):
    """Sends `folder/data` as a tar, and removes `folder` however it ends."""

    media_type = "application/x-tar"

    def __init__(self, folder: Path, name: str, headers: dict[str, str]) -> None:
        attachment = {"content-disposition": f'attachment; filename="{name}.tar"'}
        super().__init__(tar_pieces(folder / "data", name), headers={**headers, **attachment})
        self._folder = folder

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            _remove(self._folder)


def _remove_written(writing: asyncio.Future[tuple[Path, Exported]]) -> None:
    if not writing.cancelled() and writing.exception() is None:
        _remove(writing.result()[0])


def _remove(folder: Path) -> None:
    """Not awaited: what ends a request may be its cancellation."""
    asyncio.get_running_loop().run_in_executor(None, shutil.rmtree, folder, True)


def _make_room(exports: Path) -> Path:
    """A new folder, on the disk of the state, which is large where that of temporary files may be memory."""
    exports.mkdir(parents=True, exist_ok=True)
    for left in exports.iterdir():
        with contextlib.suppress(FileNotFoundError):  # another export's, sent and removed meanwhile
            if time.time() - left.stat().st_mtime > LEFT_S:
                shutil.rmtree(left, ignore_errors=True)
    return Path(tempfile.mkdtemp(dir=exports))


def _write(replica: Replica, query: ExportQuery, folder: Path) -> Exported:
    """Raises `NothingToLearn`."""
    from align.formats.exporting import FORMATS, export_corrections  # here, because it brings pyarrow

    failures = folder.with_name("failures.jsonl")

    def name(failure: Failure) -> None:
        with failures.open("a") as file:
            file.write(json.dumps(asdict(failure), ensure_ascii=False) + "\n")

    done = export_corrections(replica.store, replica.blobs, FORMATS[query.format], folder, name)
    if failures.exists():
        failures.replace(folder / failures.name)
    return done
