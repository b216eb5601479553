"""The image: linted, and of what the repository has. It was not built here: that needs a Docker engine."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from serve.launch import ENVIRONMENT

ROOT = Path(__file__).parent.parent
DOCKERFILE = (ROOT / "deploy" / "Dockerfile").read_text()
IGNORED = (ROOT / ".dockerignore").read_text().splitlines()
STAGES = DOCKERFILE.split("\nFROM ")


def test_the_linter_finds_nothing() -> None:
    hadolint = Path(sys.executable).parent / "hadolint"
    done = subprocess.run(
        [hadolint, "--failure-threshold", "info", ROOT / "deploy" / "Dockerfile"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_what_the_build_needs_is_sent_to_it() -> None:
    sent = [line[1:] for line in IGNORED if line.startswith("!")]
    assert IGNORED[1] == "*"
    assert [path for path in sent if not (ROOT / path).exists()] == []
    packages = {"align", "serve", "clients", "requirements", "pyproject.toml", "README.md", "LICENSE"}
    assert set(sent) == packages


def test_the_server_runs_as_nobody_of_weight_in_a_folder_that_is_empty() -> None:
    last = STAGES[-1]
    assert re.search(r"^USER 10001$", last, re.M)
    assert re.search(r"^WORKDIR /srv/errata$", last, re.M)
    assert "COPY . " not in last
    assert "HEALTHCHECK" in last
    assert "/readyz" in last


def test_both_stages_are_of_the_one_base_that_a_digest_can_pin() -> None:
    assert len(STAGES) == 3
    assert all(stage.startswith("${PYTHON_IMAGE}") for stage in STAGES[1:])


def test_a_cluster_runs_with_what_errata_up_sets() -> None:
    for name, value in ENVIRONMENT.items():
        assert f"{name}={value}" in STAGES[-1]
