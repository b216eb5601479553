"""Prometheus and promtool, where they are."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

UNPACKED = Path(sys.prefix) / "prometheus" / "usr" / "bin"  # by the Makefile


def program(name: str) -> str | None:
    return shutil.which(name) or shutil.which(name, path=str(UNPACKED))


PROMETHEUS, PROMTOOL = program("prometheus"), program("promtool")
needs_prometheus = pytest.mark.skipif(
    None in (PROMETHEUS, PROMTOOL),
    reason="needs Prometheus: `make test` unpacks Debian's; else put prometheus and promtool on the PATH",
)
