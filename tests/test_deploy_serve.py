"""Serve's configuration, and what of the settings it becomes; `tests/test_loop.py` deploys it for real."""

from __future__ import annotations

import sys
import threading
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest
import yaml
from pydantic import ValidationError
from ray.serve.schema import ServeDeploySchema  # noqa: TID251 - what `serve deploy` checks a file with

from align.config import TrainingConfig
from align.job import worker_resources
from serve import deployments
from serve.deployments import ModelServer, aligner, longest_request_s, model_servers
from serve.errors import EngineEnded, ServeError, SettingsError
from serve.settings import AlignmentSettings, Settings

CONFIG = yaml.safe_load((Path(__file__).parent.parent / "deploy" / "serve.yaml").read_text())


def test_the_file_is_one_that_serve_takes() -> None:
    applications = ServeDeploySchema.model_validate(CONFIG).applications
    assert [application.name for application in applications] == ["errata", "aligner"]
    for application in applications:
        module, name = application.import_path.split(":")
        assert getattr(import_module(module), name) in (model_servers, aligner)


def test_both_applications_have_the_same_settings_and_one_port() -> None:
    args = [application["args"] for application in CONFIG["applications"]]
    assert args[0] == args[1]
    settings = Settings.model_validate(args[0])
    assert (settings.host, settings.port) == (CONFIG["http_options"]["host"], CONFIG["http_options"]["port"])
    assert CONFIG["http_options"]["request_timeout_s"] >= longest_request_s(settings)


def test_both_say_what_to_install_where_traces_cannot_be_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http", None)
    for application in (model_servers, aligner):
        with pytest.raises(SettingsError, match=r"errata-server\[otel\]"):
            application({"traces": True})
        application({})  # which asks for nothing


def test_a_node_without_the_exporter_says_so_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http", None)
    monkeypatch.setattr(deployments, "_num_nodes", lambda: 1)
    with pytest.raises(SettingsError, match=r"errata-server\[otel\]"):
        deployments.ModelServer.__init__(Mock(), Settings(traces=True).model_dump_json())


def test_the_number_of_replicas_follows_the_load_where_asked() -> None:
    fixed = options(model_servers({"num_replicas": 3}))
    assert (fixed.num_replicas, fixed.autoscaling_config) == (3, None)
    autoscaling = {"max_replicas": 5, "target_ongoing_requests": 6, "downscale_delay_s": 30}
    followed = options(model_servers({"num_replicas": 2, "placement": {"autoscaling": autoscaling}}))
    found = followed.autoscaling_config
    assert (found.min_replicas, found.max_replicas) == (2, 5)
    assert (found.target_ongoing_requests, found.downscale_delay_s) == (6, 30)


def test_new_replicas_answer_before_old_ones_go_and_those_end_their_answers_first() -> None:
    found = options(model_servers({"request_deadline_s": 1000}))
    assert found.max_surge_percent == 100
    assert found.graceful_shutdown_timeout_s > 1000
    assert options(model_servers({"placement": {"max_surge_percent": 0}})).max_surge_percent == 0


def test_each_takes_of_the_cluster_what_its_setting_says() -> None:
    on_gpu = {"device": "cuda", "num_gpus": 0.3}
    settings = {
        "placement": {"num_cpus": 2, "num_gpus": 0.6},
        "alignment": {"num_gpus": 0.1, "training": on_gpu},
    }
    assert actor(model_servers(settings)) == {"num_cpus": 2, "num_gpus": 0.6}
    assert actor(aligner(settings)) == {"num_cpus": 0, "num_gpus": 0.1}
    training = Settings.model_validate(settings).alignment.training
    assert worker_resources(training) == {"CPU": 1.0, "GPU": 0.3}
    assert worker_resources(TrainingConfig(num_cpus=2)) == {"CPU": 2.0}, "no GPU where it trains on the CPU"


@pytest.mark.parametrize(
    ("num_replicas", "num_gpus", "share"), [(2, 0, 0.0), (2, 8, 1.0), (2, 2, 1.0), (3, 2, 0.5), (4, 1, 0.25)]
)
def test_without_a_word_the_cluster_s_gpus_are_shared_out(
    monkeypatch: pytest.MonkeyPatch, num_replicas: int, num_gpus: int, share: float
) -> None:
    monkeypatch.setattr(deployments, "_num_gpus", lambda: num_gpus)
    assert actor(model_servers({"num_replicas": num_replicas}))["num_gpus"] == share
    assert actor(model_servers({"num_replicas": num_replicas, "placement": {"num_gpus": 0}}))["num_gpus"] == 0
    autoscaling = {"autoscaling": {"max_replicas": num_replicas}}
    assert actor(model_servers({"placement": autoscaling}))["num_gpus"] == share


def test_there_is_one_aligner_and_never_two_for_a_moment() -> None:
    found = options(aligner({}))
    assert (found.num_replicas, found.max_surge_percent) == (1, 0)


def test_settings_that_cannot_run_are_refused() -> None:
    with pytest.raises(ValidationError, match="max_replicas must be at least num_replicas"):
        model_servers({"num_replicas": 3, "placement": {"autoscaling": {"max_replicas": 2}}})
    with pytest.raises(ValidationError, match=r"alignment\.num_gpus must be above 0"):
        Settings(alignment=AlignmentSettings(training=TrainingConfig(device="cuda")))
    with pytest.raises(ValidationError, match="Extra inputs"):
        aligner({"num_replica": 3})


def options(application: Any) -> Any:
    return application._bound_deployment._deployment_config


def actor(application: Any) -> dict[str, float]:
    found = application._bound_deployment.ray_actor_options
    return {name: found.get(name, 0) for name in ("num_cpus", "num_gpus")}


@pytest.mark.parametrize(
    ("error", "leaves"),
    [(EngineEnded("it was killed"), True), (ServeError("behind what is in force"), False)],
)
def test_a_replica_leaves_at_once_where_its_engine_has_ended(
    monkeypatch: pytest.MonkeyPatch, error: ServeError, leaves: bool
) -> None:
    """The other ones it lets Serve end, with time for the requests that are under way."""
    has_left = threading.Event()
    monkeypatch.setattr(deployments.os, "_exit", lambda status: has_left.set())
    monkeypatch.setattr(deployments, "LEAVE_S", 0.0)

    def check_health() -> None:
        raise error

    with pytest.raises(ServeError, match=str(error)):
        ModelServer.check_health(SimpleNamespace(_replica=SimpleNamespace(check_health=check_health)))
    assert has_left.wait(20.0 if leaves else 0.2) == leaves
