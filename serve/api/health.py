"""/healthz: the process answers. /readyz: it holds what is in force. /metrics: the whole deployment's figures."""

from __future__ import annotations

import asyncio
import time
from dataclasses import asdict

import httpx
from fastapi import APIRouter
from fastapi.responses import JSONResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.concurrency import run_in_threadpool

from serve.metrics import deployment_page
from serve.replica import Replica


def health_router(replica: Replica) -> APIRouter:
    router = APIRouter()

    @router.get("/healthz")
    async def healthz() -> dict[str, str]:
        """The process answers."""
        return {"status": "ok"}

    @router.get("/readyz")
    async def readyz() -> JSONResponse:
        """This replica holds what is in force: 200, else 503. `engine` says how it runs."""
        rollout = replica.reconciler.in_force()
        state = {
            "generation": rollout.generation,
            "live": rollout.live,
            "replica": replica.id,
            "engine": asdict(replica.engine.setup),
        }
        if replica.reconciler.is_ready:
            return JSONResponse({"status": "ready", **state})
        return JSONResponse({"status": "behind", **state}, 503, {"Retry-After": "1"})

    @router.get("/metrics", response_class=Response)
    async def metrics() -> Response:
        """The figures of all replicas, for Prometheus."""
        since = time.time() - replica.settings.rollout.dead_after_s
        alive = await run_in_threadpool(replica.store.replicas.alive, since)
        own = generate_latest(replica.metrics.registry).decode()
        async with httpx.AsyncClient(timeout=2.0, trust_env=False) as client:
            others = [other for other in alive if other.id != replica.id and other.url]
            answers = await asyncio.gather(
                *(client.get(other.url) for other in others), return_exceptions=True
            )
        pages = {
            other.id: answer.text
            for other, answer in zip(others, answers, strict=True)
            if isinstance(answer, httpx.Response) and answer.status_code == 200
        }
        page = await run_in_threadpool(deployment_page, replica.store, {replica.id: own, **pages})
        return Response(page, media_type=CONTENT_TYPE_LATEST)

    return router
