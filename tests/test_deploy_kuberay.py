"""The manifests for Kubernetes: each by its schema where there is one here, their parts fitting each other.

They were not applied to a cluster: there was none. Ray's own fields are held against a list that was read off KubeRay's
types and samples (1.5), so that a misspelt one is found.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from ray.serve.schema import ServeDeploySchema  # noqa: TID251 - what `serve deploy` checks a file with

from serve.deployments import aligner, longest_request_s, model_servers
from serve.placement_settings import PlacementSettings
from serve.settings import Settings

FOLDER = Path(__file__).parent.parent / "deploy" / "kuberay"
KUSTOMIZATION = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())
MANIFESTS: list[dict[str, Any]] = [
    manifest
    for name in KUSTOMIZATION["resources"]
    for manifest in yaml.safe_load_all((FOLDER / name).read_text())
]
CORE = [one for one in MANIFESTS if "ray.io" not in one["apiVersion"] and "coreos" not in one["apiVersion"]]
SERVICES = [one for one in MANIFESTS if one["kind"] == "RayService"]
FIELDS = {
    "spec": {"upgradeStrategy", "rayClusterDeletionDelaySeconds", "serveConfigV2", "rayClusterConfig"},
    "upgradeStrategy": {"type", "clusterUpgradeOptions"},
    "clusterUpgradeOptions": {"gatewayClassName", "stepSizePercent", "intervalSeconds", "maxSurgePercent"},
    "rayClusterConfig": {
        "rayVersion",
        "enableInTreeAutoscaling",
        "authOptions",
        "headGroupSpec",
        "workerGroupSpecs",
    },
    "authOptions": {"mode", "secretName"},
    "headGroupSpec": {"rayStartParams", "template"},
    "workerGroupSpecs": {
        "groupName",
        "replicas",
        "minReplicas",
        "maxReplicas",
        "rayStartParams",
        "template",
    },
}
"""By the field that holds them, the fields of KubeRay's that may be used."""


def named(manifest: dict[str, Any]) -> str:
    return f"{manifest['kind']}-{manifest['metadata']['name']}"


def templates(service: dict[str, Any]) -> list[dict[str, Any]]:
    cluster = service["spec"]["rayClusterConfig"]
    return [group["template"] for group in (cluster["headGroupSpec"], *cluster.get("workerGroupSpecs", ()))]


def config(service: dict[str, Any]) -> dict[str, Any]:
    read: dict[str, Any] = yaml.safe_load(service["spec"]["serveConfigV2"])
    return read


def test_every_file_is_applied() -> None:
    files = {path.name for path in FOLDER.glob("*.yaml")} - {"kustomization.yaml"}
    assert set(KUSTOMIZATION["resources"]) == files


@pytest.mark.parametrize("manifest", CORE, ids=named)
def test_what_kubernetes_knows_is_as_its_schema_says(manifest: dict[str, Any]) -> None:
    kubernetes_validate.validate(manifest, "1.31", strict=True)


@pytest.mark.parametrize("service", SERVICES, ids=named)
def test_pods_are_as_the_schema_says(service: dict[str, Any]) -> None:
    for template in templates(service):
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pod", **template["metadata"]}}
        kubernetes_validate.validate({**pod, "spec": template["spec"]}, "1.31", strict=True)


@pytest.mark.parametrize("service", SERVICES, ids=named)
def test_ray_s_own_fields_are_those_of_kuberay(service: dict[str, Any]) -> None:
    def check(name: str, value: Any) -> None:
        for one in value if isinstance(value, list) else [value]:
            assert set(one) <= FIELDS[name], name
            for field in set(one) & set(FIELDS):
                check(field, one[field])

    check("spec", service["spec"])


@pytest.mark.parametrize("service", SERVICES, ids=named)
def test_serve_s_part_is_one_that_serve_and_the_server_take(service: dict[str, Any]) -> None:
    (application,) = ServeDeploySchema.model_validate(config(service)).applications
    builder = {"serve.deployments:model_servers": model_servers, "serve.deployments:aligner": aligner}
    assert builder[application.import_path](application.args) is not None


def test_both_use_one_state_that_pods_can_share() -> None:
    answers, learns = (Settings.model_validate(config(one)["applications"][0]["args"]) for one in SERVICES)
    assert answers.database_url == learns.database_url
    assert answers.database_url.startswith("postgresql://")
    assert answers.blobs_url == learns.blobs_url
    assert answers.blobs_url.startswith("s3://")


def test_answers_may_end_before_a_pod_or_a_cluster_goes() -> None:
    service = SERVICES[0]
    settings = Settings.model_validate(config(service)["applications"][0]["args"])
    worker = templates(service)[1]["spec"]
    assert worker["terminationGracePeriodSeconds"] >= longest_request_s(settings)
    assert service["spec"]["rayClusterDeletionDelaySeconds"] >= longest_request_s(settings)
    assert config(service)["http_options"]["request_timeout_s"] >= longest_request_s(settings)


def test_workers_are_enough_for_the_most_replicas_and_those_that_come_before_them() -> None:
    placement = config(SERVICES[0])["applications"][0]["args"]["placement"]
    (group,) = SERVICES[0]["spec"]["rayClusterConfig"]["workerGroupSpecs"]
    surge = placement.get("max_surge_percent", PlacementSettings().max_surge_percent) / 100
    assert group["maxReplicas"] >= placement["autoscaling"]["max_replicas"] * (1 + surge)
    gpus = group["template"]["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"]
    assert float(gpus) >= placement["num_gpus"]


def test_there_is_never_a_second_aligner_beside_the_first() -> None:
    aligners = [one for one in SERVICES if "deployments:aligner" in one["spec"]["serveConfigV2"]]
    assert [one["spec"]["upgradeStrategy"]["type"] for one in aligners] == ["None"]


def test_what_pods_name_is_there() -> None:
    there = {named(one) for one in MANIFESTS}
    text = yaml.safe_dump(SERVICES)
    for kind, pattern in (
        ("Secret", r"secretRef:\s+name: (\S+)|secretName: (\S+)"),
        ("PersistentVolumeClaim", r"claimName: (\S+)"),
    ):
        found = {name for match in re.finditer(pattern, text) for name in match.groups() if name}
        assert found
        assert {f"{kind}-{name}" for name in found} <= there


def test_secrets_are_left_to_be_filled_in() -> None:
    secrets = [value for one in MANIFESTS if one["kind"] == "Secret" for value in one["stringData"].values()]
    assert secrets
    assert not any(secrets)


def test_policy_and_monitor_select_the_pods_that_there_are() -> None:
    labels = [template["metadata"]["labels"] for service in SERVICES for template in templates(service)]
    policy, monitor = (
        next(one for one in MANIFESTS if one["kind"] == kind) for kind in ("NetworkPolicy", "PodMonitor")
    )
    assert all(policy["spec"]["podSelector"]["matchLabels"].items() <= one.items() for one in labels)
    assert set(monitor["spec"]["selector"]["matchLabels"]) == {*labels[0], "ray.io/node-type"}
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    head = templates(SERVICES[0])[0]["spec"]["containers"][0]
    assert {"name": endpoint["port"], "containerPort": 8000} in head["ports"]
