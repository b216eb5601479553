"""/v1/alignments: ask for a run, see how runs went, and end one."""

from __future__ import annotations

from fastapi import APIRouter, Depends
from fastapi.responses import HTMLResponse, Response
from starlette.concurrency import run_in_threadpool

from align.errors import NotFound
from align.gate.report import PAGE_NAME, report_folder
from align.state import Run
from serve.replica import Replica

from .auth import may_administer, may_chat
from .schema import AlignmentAnswer, AlignmentList, Body
from .statuses import WITH_BODY, Documented, content, refusals

PAGE: Documented = {**content("text/html"), **refusals(404)}
PAGE_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
"""A report is text, a style sheet and drawings; nothing in it may load or run."""


def alignments_router(replica: Replica) -> APIRouter:
    router, runs = APIRouter(prefix="/v1/alignments"), replica.store.runs

    @router.post("", status_code=202, dependencies=[Depends(may_administer)], responses=refusals(*WITH_BODY))
    async def start(body: Body | None = None) -> AlignmentAnswer:
        """Ask for a run, or get the one that is already waiting."""
        return alignment_answer(await run_in_threadpool(runs.request, "request"))

    @router.get("", dependencies=[Depends(may_chat)])
    async def every() -> AlignmentList:
        """The last 100 runs, newest first."""
        return AlignmentList(data=[alignment_answer(run) for run in await run_in_threadpool(runs.recent)])

    @router.get("/{run_id}", dependencies=[Depends(may_chat)], responses=refusals(404))
    async def one(run_id: str) -> AlignmentAnswer:
        """How one run stands, or how it ended and why."""
        return alignment_answer(await run_in_threadpool(runs.get, run_id))

    @router.post(
        "/{run_id}/cancel", dependencies=[Depends(may_administer)], responses=refusals(*WITH_BODY, 404, 409)
    )
    async def cancel(run_id: str, body: Body | None = None) -> AlignmentAnswer:
        """End a run that waits or is under way; training and measuring stop within seconds."""
        return alignment_answer(await run_in_threadpool(runs.cancel, run_id))

    @router.get(
        "/{run_id}/report",
        dependencies=[Depends(may_chat)],
        response_class=Response,
        responses=PAGE,
    )
    async def report(run_id: str) -> Response:
        """What the gate measured and decided, as a page with plots."""
        page = await run_in_threadpool(_page, replica, run_id)
        return HTMLResponse(page, headers={"Content-Security-Policy": PAGE_POLICY})

    return router


def _page(replica: Replica, run_id: str) -> bytes:
    run = replica.store.runs.get(run_id)
    try:
        return (replica.blobs.fetch_folder(report_folder(run.id)) / PAGE_NAME).read_bytes()
    except NotFound as error:
        raise NotFound(f"the gate has judged nothing of {run.id}, which is {run.status}") from error


def alignment_answer(run: Run) -> AlignmentAnswer:
    manifest = run.manifest or {}
    return AlignmentAnswer(
        id=run.id,
        status=run.status,
        trigger=run.trigger,
        created=int(run.created),
        ended=None if run.ended is None else int(run.ended),
        num_corrections=len(manifest.get("train", [])) + len(manifest.get("held_out", [])),
        progress=run.progress,
        reason=run.reason,
        adapter=run.adapter,
        report=run.report,
    )
