"""The compose file: whole in itself, and of settings that there are. Not run: that needs a Docker engine."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import yaml

from serve.settings import Settings

FOLDER = Path(__file__).parent.parent / "deploy"
TEXT = (FOLDER / "compose.yaml").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load(TEXT)
SERVICES: dict[str, Any] = COMPOSE["services"]


def mounts() -> list[tuple[str, str]]:
    """What is mounted and where, of all services."""
    volumes = [volume for service in SERVICES.values() for volume in service.get("volumes", ())]
    return [(volume.split(":")[0], volume.split(":")[1]) for volume in volumes]


def test_the_server_s_settings_are_settings() -> None:
    settings = Settings.model_validate(json.loads(COMPOSE["configs"]["settings"]["content"]))
    assert not settings.is_loopback
    assert str(settings.state) in {target for _, target in mounts()}
    assert (settings.database_url or "").startswith("postgresql://errata@database/")
    assert settings.blobs_url.startswith("s3://errata/")


def test_every_volume_is_declared_or_a_file_of_the_repository() -> None:
    named = {source for source, _ in mounts() if not source.startswith(".")}
    assert named == set(COMPOSE["volumes"])
    files = [source for source, _ in mounts() if source.startswith(".")]
    assert files
    assert [source for source in files if not (FOLDER / source).exists()] == []


def test_services_wait_for_services_that_there_are() -> None:
    waited_for = {name for service in SERVICES.values() for name in service.get("depends_on", ())}
    assert waited_for == {"database", "bucket", "blobs"}
    assert waited_for <= set(SERVICES)


def test_no_secret_stands_in_it_and_none_has_a_default() -> None:
    secrets = re.findall(r"(\w*(?:PASSWORD|SECRET\w*)): (\S+)", TEXT)
    assert len(secrets) >= 5
    assert [name for name, value in secrets if not re.match(r'"?\$\{\w+:\?\}', value)] == []


def test_every_image_can_be_pinned_by_its_digest() -> None:
    assert [name for name, one in SERVICES.items() if not re.match(r"\$\{\w+_IMAGE:-", one["image"])] == []


def test_only_the_server_can_be_reached_from_other_machines() -> None:
    ports = {name: one["ports"] for name, one in SERVICES.items() if "ports" in one}
    assert {name for name, of in ports.items() if not of[0].startswith("127.0.0.1:")} == {"server"}


def test_prometheus_and_grafana_find_the_server_and_the_board() -> None:
    prometheus = yaml.safe_load((FOLDER / "prometheus" / "prometheus.yaml").read_text())
    targets = prometheus["scrape_configs"][0]["static_configs"][0]["targets"]
    assert [target.split(":")[0] in SERVICES for target in targets] == [True]
    source = yaml.safe_load((FOLDER / "grafana/provisioning/datasources/prometheus.yaml").read_text())
    assert source["datasources"][0]["url"] == "http://prometheus:9090"
    boards = yaml.safe_load((FOLDER / "grafana/provisioning/dashboards/errata.yaml").read_text())
    folder = boards["providers"][0]["options"]["path"]
    assert f"{folder}/errata.json" in {target for _, target in mounts()}
    at = [argument for argument in SERVICES["prometheus"]["command"] if "config.file" in argument]
    assert at == ["--config.file=/etc/prometheus/prometheus.yaml"]


def test_a_stop_waits_for_the_longest_answer() -> None:
    assert SERVICES["server"]["stop_grace_period"] == "7m"
    assert Settings().request_deadline_s + Settings().body_timeout_s < 7 * 60
