"""Alerts and recording rules: they say what they should, of figures that there are, and people find what to do."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus import PROMTOOL, needs_prometheus

from docs.generators.metrics import metrics

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "deploy" / "prometheus"
RUNBOOK = (ROOT / "docs" / "runbook.md").read_text()


def rules(name: str) -> list[dict[str, Any]]:
    return [
        rule for group in yaml.safe_load((FOLDER / name).read_text())["groups"] for rule in group["rules"]
    ]


ALERTS = rules("alerts.yaml")


def promtool(*arguments: str) -> None:
    assert PROMTOOL is not None
    done = subprocess.run([PROMTOOL, *arguments], cwd=FOLDER, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@needs_prometheus
def test_the_configuration_is_one_that_prometheus_takes() -> None:
    promtool("check", "config", "prometheus.yaml")


@needs_prometheus
def test_each_alert_fires_when_it_should_and_is_silent_before() -> None:
    promtool("test", "rules", "tests.yaml")


def test_each_alert_has_a_test_of_its_silence_and_of_its_call() -> None:
    tests = yaml.safe_load((FOLDER / "tests.yaml").read_text())["tests"]
    found = {test["name"]: ["exp_alerts" in one for one in test["alert_rule_test"]] for test in tests}
    assert found == {rule["alert"]: [False, True] for rule in ALERTS}


def test_every_figure_that_a_rule_asks_for_is_measured() -> None:
    there = {name for name, *_ in metrics()}
    for rule in [*ALERTS, *rules("recording.yaml")]:
        asked = set(re.findall(r"\berrata_\w+", rule["expr"])) - {"errata_"}
        unknown = {name for name in asked if re.sub("_bucket$", "", name) not in there}
        assert not unknown, rule


def test_every_recorded_series_that_an_alert_asks_for_is_recorded() -> None:
    recorded = {rule["record"] for rule in rules("recording.yaml")}
    asked = {name for rule in ALERTS for name in re.findall(r"errata:[\w:]+", rule["expr"])}
    assert asked
    assert asked - recorded == set()


@pytest.mark.parametrize("alert", ALERTS, ids=lambda rule: rule["alert"])
def test_the_runbook_says_what_to_do(alert: dict[str, Any]) -> None:
    assert alert["annotations"]["runbook"] == f"docs/runbook.md#{alert['alert'].lower()}"
    section = re.search(rf"^### {alert['alert']}\n(.+?)(?=^##|\Z)", RUNBOOK, re.M | re.S)
    assert section is not None
    assert len(section[1].split()) >= 20, "what it means, and what to do"


def test_the_runbook_has_no_section_of_an_alert_that_is_gone() -> None:
    assert set(re.findall(r"^### (Errata\w+)", RUNBOOK, re.M)) == {rule["alert"] for rule in ALERTS}
