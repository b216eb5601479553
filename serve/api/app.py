"""The HTTP application of one replica."""

from __future__ import annotations

from importlib.metadata import version

from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware

from serve.replica import Replica

from .adapters import adapters_router
from .alignments import alignments_router
from .body_limit import BodyLimit
from .chat import chat_router
from .corrections import corrections_router
from .docs import install_docs
from .door import Door, Gatekeeper
from .erasure import erasure_router
from .errors import install_error_handlers
from .exports import exports_router
from .feedback import feedback_router
from .health import health_router
from .key_limits import Turnstile
from .links import links_router
from .measure import Measure
from .models import models_router
from .page import install_page
from .queue import queue_router
from .response_images import response_images_router
from .responses import responses_router
from .reviews import reviews_router
from .statistics import statistics_router
from .statuses import EVERYWHERE, GUARDED


def build_app(replica: Replica) -> FastAPI:
    settings = replica.settings
    app = FastAPI(
        title="Errata",
        version=version("errata-server"),
        docs_url=None,
        redoc_url=None,
        responses=EVERYWHERE,
    )
    install_error_handlers(app)
    install_docs(app)
    install_page(app)
    for router in (
        chat_router(replica),
        responses_router(replica),
        response_images_router(replica),
        links_router(replica),
        queue_router(replica),
        feedback_router(replica),
        exports_router(replica),  # before the corrections: `export` would be the id of one
        corrections_router(replica),
        erasure_router(replica),
        models_router(replica),
        adapters_router(replica),
        reviews_router(replica),
        alignments_router(replica),
        statistics_router(replica),
    ):
        app.include_router(router, responses=GUARDED)
    app.include_router(health_router(replica))
    app.add_middleware(
        Door,
        gatekeeper=Gatekeeper(replica.store, is_loopback=settings.is_loopback),
        turnstile=Turnstile(settings.key_limits),
    )
    app.add_middleware(
        BodyLimit,
        max_bytes=settings.max_body_bytes,
        max_values=settings.max_body_values,
        timeout_s=settings.body_timeout_s,
    )
    if settings.browser_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.browser_origins,
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["authorization", "content-type", "idempotency-key"],
            expose_headers=[
                "x-errata-response-id",
                "x-errata-adapter",
                "x-errata-feedback-token",
                "x-request-id",
            ],
        )
    app.add_middleware(Measure, metrics=replica.metrics, traces=replica.traces)  # added last: outermost
    return app
