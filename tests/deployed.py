"""A server that `serve deploy` brought to a Ray cluster by `deploy/serve.yaml`, as on a cluster of one's own."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import yaml

from serve import launch
from serve.demo.server import free_port
from serve.settings import Settings

ROOT = Path(__file__).parent.parent
SERVE_YAML = ROOT / "deploy" / "serve.yaml"
HEAD = Path(__file__).parent / "ray_head.py"
ENVIRONMENT = {
    **launch.ENVIRONMENT,
    "RAY_AUTH_MODE": "token",  # which Ray's dashboard asks for
    "RAY_AUTH_TOKEN": secrets.token_hex(32),
    "no_proxy": "127.0.0.1",
}


class Deployed:
    def __init__(self, dashboard: str, folder: Path) -> None:
        self._dashboard, self._folder = dashboard, folder

    def deploy(self, settings: Settings) -> None:
        """Returns when both applications run as the settings say."""
        config = self._folder / "serve.yaml"
        config.write_text(yaml.safe_dump(changed(yaml.safe_load(SERVE_YAML.read_text()), settings)))
        serve = Path(sys.executable).parent / "serve"
        done = subprocess.run(
            [serve, "deploy", config, "-a", self._dashboard],
            cwd=self._folder,
            env={**os.environ, **ENVIRONMENT},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        deadline = time.monotonic() + 600
        while (states := self._states()) != {"errata": "RUNNING", "aligner": "RUNNING"}:
            assert "DEPLOY_FAILED" not in states.values(), self._status()
            assert time.monotonic() < deadline, self._status()
            time.sleep(0.5)

    def _states(self) -> dict[str, str]:
        return {name: one["status"] for name, one in self._status()["applications"].items()}

    def _status(self) -> Any:
        headers = {"Authorization": f"Bearer {ENVIRONMENT['RAY_AUTH_TOKEN']}"}
        url = f"{self._dashboard}/api/serve/applications/"
        return httpx.get(url, headers=headers, timeout=30, trust_env=False).json()


def changed(config: dict[str, Any], settings: Settings) -> dict[str, Any]:
    """The file's own structure with a test's settings in it: its address, its state, its number of replicas."""
    config["http_options"].update(host=settings.host, port=settings.port)
    for application in config["applications"]:
        application["args"] = settings.model_dump(mode="json")
    return config


@contextmanager
def deployed(folder: Path) -> Iterator[Deployed]:
    """A cluster of one node, with nothing on it yet."""
    port = free_port()
    with (folder / "head.log").open("wb") as log:
        head = subprocess.Popen(
            [sys.executable, HEAD, str(port)],
            cwd=folder,
            env={**os.environ, **ENVIRONMENT},
            stdout=subprocess.PIPE,
            stderr=log,
        )
    try:
        assert head.stdout is not None
        assert any(line == b"up\n" for line in head.stdout), (folder / "head.log").read_text()
        yield Deployed(f"http://127.0.0.1:{port}", folder)
    finally:
        head.terminate()
        head.wait(60)
        if head.stdout is not None:
            head.stdout.close()
