"""The deployments on Ray Serve: model servers that answer, an aligner that learns.

The only file that imports ray.serve's API.
"""

from __future__ import annotations

import os
import re
import threading
from typing import Any

import ray
from fastapi import FastAPI
from ray import serve as ray_serve
from ray.serve.config import HTTPOptions
from ray.util import get_node_ip_address

from .aligner import STOP_S, Aligner
from .api.app import build_app
from .errors import EngineEnded, SettingsError
from .replica import Replica, transformers_engine
from .settings import Settings, check_shared, check_traces

LEAVE_S = 1.0
"""For what other requests are doing, such as a correction that is being stored."""


class ModelServer:
    """HTTP ingress and engine in one process: a hop between the two would halve the tokens per second."""

    def __init__(self, settings_json: str) -> None:
        settings = Settings.model_validate_json(settings_json)
        check_shared(settings, _num_nodes())  # a node may have come since the start
        check_traces(settings)  # which are installed on each node by itself
        # what anybody may read at the server's own port, its replicas on other nodes may read here
        address = "127.0.0.1" if settings.is_loopback else get_node_ip_address()
        self._replica = Replica(settings, transformers_engine, address)

    def __serve_build_asgi_app__(self) -> FastAPI:
        return build_app(self._replica)

    def check_health(self) -> None:
        """Raises where only a new process can help; Serve then starts one.

        One whose engine has ended leaves at once: Serve would look twice more before it sends the next request
        elsewhere, and who is refused fast has the shortest queue.
        """
        try:
            self._replica.check_health()
        except EngineEnded:
            threading.Timer(LEAVE_S, os._exit, (1,)).start()
            raise

    async def __del__(self) -> None:
        self._replica.close()


class AlignerServer:
    """Keeps the aligner alive: Serve starts another one when its thread has died."""

    def __init__(self, settings_json: str) -> None:
        settings = Settings.model_validate_json(settings_json)
        check_traces(settings)
        self._aligner = Aligner(settings)
        self._aligner.start()

    def check_health(self) -> None:
        if not self._aligner.is_alive:
            raise RuntimeError("the aligner's thread has ended")

    def __del__(self) -> None:
        self._aligner.stop()


def model_servers(settings: dict[str, Any]) -> Any:
    """The application that answers, for `deploy/serve.yaml`. Raises `SettingsError`, pydantic's `ValidationError`."""
    return _model_servers(_checked(settings))


def aligner(settings: dict[str, Any]) -> Any:
    """The application that learns, for `deploy/serve.yaml`. Raises `SettingsError`, pydantic's `ValidationError`."""
    return _aligner(_checked(settings))


def _checked(values: dict[str, Any]) -> Settings:
    """What `errata up` checks, as far as it holds for each node of a cluster."""
    settings = Settings.model_validate(values)
    check_traces(settings)
    return settings


def _model_servers(settings: Settings) -> Any:
    capacity = settings.engine.max_num_sequences + settings.engine.max_waiting
    placement = settings.placement
    autoscaling = placement.autoscaling
    most = settings.num_replicas if autoscaling is None else autoscaling.max_replicas
    num_gpus = placement.gpus_each(most, _num_gpus())
    number = (
        {"num_replicas": settings.num_replicas}
        if autoscaling is None
        else {"autoscaling_config": {"min_replicas": settings.num_replicas, **autoscaling.model_dump()}}
    )
    deployment: Any = ray_serve.deployment(
        ray_serve.ingress()(ModelServer),
        name="ModelServer",
        **number,
        max_ongoing_requests=2 * capacity + 64,  # the engine's own queue says 429 before Serve's limit is met
        max_queued_requests=capacity,
        max_surge_percent=placement.max_surge_percent,
        graceful_shutdown_timeout_s=longest_request_s(settings),
        health_check_period_s=2.0,
        max_constructor_retry_count=2,  # what fails at the start twice is said, not tried for minutes
        ray_actor_options={"num_cpus": placement.num_cpus, "num_gpus": num_gpus},
    )
    return deployment.bind(settings.model_dump_json())


def _aligner(settings: Settings) -> Any:
    deployment: Any = ray_serve.deployment(
        AlignerServer,
        name="Aligner",
        num_replicas=1,
        graceful_shutdown_timeout_s=STOP_S + 5.0,
        ray_actor_options={"num_cpus": 0, "num_gpus": settings.alignment.num_gpus},
    )
    return deployment.bind(settings.model_dump_json())


def longest_request_s(settings: Settings) -> float:
    """How long a request may take from its first byte to its last; replicas end it themselves by then."""
    return settings.body_timeout_s + settings.request_deadline_s + 60.0


def deploy(settings: Settings) -> None:
    """Start Serve and both applications on the connected cluster; returns when they run."""
    check_shared(settings, _num_nodes())
    ray_serve.start(
        http_options=HTTPOptions(
            host=settings.host, port=settings.port, request_timeout_s=longest_request_s(settings)
        )
    )
    try:
        ray_serve.run(_model_servers(settings), name="errata", route_prefix="/")
        ray_serve.run(_aligner(settings), name="aligner", route_prefix=None)
    except RuntimeError as error:
        raise SettingsError(f"the server did not start: {_cause()}") from error


def _num_nodes() -> int:
    return sum(node["Alive"] for node in ray.nodes())


def _num_gpus() -> int:
    """In the cluster that this process is connected to."""
    return int(ray.cluster_resources().get("GPU", 0)) if ray.is_initialized() else 0


def _cause() -> str:
    """The last line of what a replica said when it failed, which is the exception itself."""
    messages: list[str] = [
        deployment.message
        for application in ray_serve.status().applications.values()
        for deployment in application.deployments.values()
        if deployment.message
    ]
    lines = [line for message in messages for line in message.strip().splitlines() if line.strip()]
    errors = [line.strip() for line in lines if re.match(r"\s*[\w.]*(Error|Exception|Invalid\w*)\b.*:", line)]
    return (errors or lines or ["Ray Serve gives no reason"])[-1]


def shut_down() -> None:
    ray_serve.shutdown()
