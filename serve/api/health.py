"""/healthz: the process answers. /readyz: it can, with what is in force. /metrics: figures, of all or one by one."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from functools import partial
from typing import Literal
from urllib.parse import urlsplit

import httpx
from fastapi import APIRouter
from fastapi.responses import Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.concurrency import run_in_threadpool

from align.state.database import AWAY
from align.state.replicas import Replica as ReplicaRow
from serve.errors import ServeError
from serve.metrics import StoreCollector, deployment_page
from serve.replica import Replica

from .schema import HealthAnswer, MetricsTarget, ReadinessAnswer
from .statuses import Documented, content

PATIENCE_S = 8.0
"""For what the database knows: Prometheus waits ten seconds by default for all."""

BEHIND: Documented = {
    503: {
        "model": ReadinessAnswer,
        "description": "It does not hold what is in force yet, or its engine works no more",
    }
}


def health_router(replica: Replica) -> APIRouter:
    router, dead_after_s = APIRouter(), replica.settings.rollout.dead_after_s
    shared = StoreCollector(replica.store, replica.settings)
    # of their own, so that those who wait for a database without an answer are few, and in nobody's way
    threads = ThreadPoolExecutor(4, "metrics")

    @router.get("/healthz")
    async def healthz() -> HealthAnswer:
        """The process answers."""
        return HealthAnswer()

    @router.get("/readyz", responses=BEHIND)
    async def readyz(http: Response) -> ReadinessAnswer:
        """This replica holds what is in force and its engine works: 200, else 503. `engine` says how it runs."""
        rollout, status = replica.reconciler.in_force(), _status(replica)
        if status != "ready":
            http.status_code, http.headers["Retry-After"] = 503, "1"
        return ReadinessAnswer(
            status=status,
            generation=rollout.generation,
            live=rollout.live,
            replica=replica.id,
            engine=asdict(replica.engine.setup),
        )

    @router.get("/metrics/targets")
    async def targets() -> list[MetricsTarget]:
        """Each replica by itself, as Prometheus's HTTP service discovery reads it: for more than fit one page."""
        alive = await run_in_threadpool(replica.store.replicas.alive, dead_after_s)
        return [_target(one) for one in alive if one.url]

    @router.get("/metrics", response_class=Response, responses=content("text/plain"))
    async def metrics() -> Response:
        """The figures of all replicas, for Prometheus; while the database is away, those of this one."""
        own = {replica.id: generate_latest(replica.metrics.registry).decode()}
        try:
            async with asyncio.timeout(PATIENCE_S):
                page = await whole(own)
        except (*AWAY, TimeoutError):
            page = deployment_page(None, own)
        return Response(page, media_type=CONTENT_TYPE_LATEST)

    async def whole(own: dict[str, str]) -> bytes:
        run = partial(asyncio.get_running_loop().run_in_executor, threads)
        alive = await run(replica.store.replicas.alive, dead_after_s)
        pages = await _pages([other for other in alive if other.id != replica.id and other.url])
        return await run(deployment_page, shared, pages | own)

    return router


async def _pages(others: list[ReplicaRow]) -> dict[str, str]:
    """Of those that answer."""
    async with httpx.AsyncClient(timeout=2.0, trust_env=False) as client:
        answers = await asyncio.gather(*(client.get(other.url) for other in others), return_exceptions=True)
    return {
        other.id: answer.text
        for other, answer in zip(others, answers, strict=True)
        if isinstance(answer, httpx.Response) and answer.status_code == 200
    }


def _status(replica: Replica) -> Literal["ready", "behind", "failed"]:
    try:
        replica.engine.check()
    except ServeError:  # Ray Serve's own look finds it too, and replaces the replica, but seconds later
        return "failed"
    return "ready" if replica.reconciler.is_ready else "behind"


def _target(replica: ReplicaRow) -> MetricsTarget:
    """`url` is where its own figures answer."""
    url = urlsplit(replica.url)
    return MetricsTarget(targets=[url.netloc], labels={"replica": replica.id, "__metrics_path__": url.path})
