"""Who may import whom. The rules stand in pyproject.toml; these tests show that they hold and that they can fail."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = {"serve": ROOT / "serve", "align": ROOT / "align", "errata": ROOT / "clients/python/errata"}
HEAVY = ("torch", "transformers", "peft", "ray")


@pytest.mark.parametrize(
    "module",
    ["align.state", "align.abuse.screening", "align.spans", "serve.api.schema", "serve.aligner", "errata"],
)
def test_light_modules_load_nothing_heavy(module: str) -> None:
    program = f"import sys, {module}; print(*sorted({set(HEAVY)!r} & sys.modules.keys()))"
    loaded = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert (loaded.stdout, loaded.returncode) == ("\n", 0), loaded.stderr


def test_a_heavy_module_would_be_noticed() -> None:
    program = f"import sys, torch; print(*sorted({set(HEAVY)!r} & sys.modules.keys()))"
    assert subprocess.check_output([sys.executable, "-c", program], text=True) == "torch\n"


@pytest.fixture
def house(tmp_path: Path) -> Path:
    """The project's rules over packages that hold next to nothing."""
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for name in ("align/state", "align/abuse", "serve/api", "errata"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("align", "align/state", "align/abuse", "serve", "serve/api", "errata"):
        (tmp_path / name / "__init__.py").touch()
    (tmp_path / "serve/api/schema.py").write_text("from align import state\n")
    return tmp_path


def lint_imports(house: Path) -> subprocess.CompletedProcess[str]:
    program = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    command = [sys.executable, "-c", program, "--no-logo", "--no-cache"]
    wide = {**os.environ, "COLUMNS": "200"}  # so that a contract's name stays on one line
    return subprocess.run(command, cwd=house, env=wide, capture_output=True, text=True)


def test_the_contracts_are_kept_where_imports_point_down(house: Path) -> None:
    result = lint_imports(house)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize(
    ("file", "line", "contract"),
    [
        ("align/gate.py", "import serve.api", "align knows nothing of HTTP"),
        ("align/gate.py", "def late() -> None:\n    import fastapi", "align knows nothing of HTTP"),
        ("serve/chat.py", "from errata import client", "serve knows nothing of its clients"),
        ("serve/chat.py", "def late() -> None:\n    from torch import nn", "the engine alone knows torch"),
        ("errata/client.py", "from align import spans", "the Python client needs neither"),
        ("errata/client.py", "import torch", "the Python client needs neither"),
        ("align/state/runs.py", "from ..tensors import cosine", "start without torch"),
        ("align/abuse/shares.py", "from ..tensors import cosine", "start without torch"),
        ("serve/api/schema.py", "import ray", "start without torch"),
    ],
)
def test_an_import_that_points_up_breaks_its_contract(
    house: Path, file: str, line: str, contract: str
) -> None:
    (house / "align/tensors.py").write_text("import torch\n")
    (house / file).write_text(line + "\n")
    result = lint_imports(house)
    assert result.returncode == 1, result.stdout + result.stderr
    broken = [text for text in result.stdout.splitlines() if text.endswith(" BROKEN")]
    assert len(broken) == 1
    assert contract in broken[0]


@pytest.mark.parametrize("line", ["from ray import serve", "import ray.serve", "from ray.serve import start"])
def test_ray_serve_is_refused_outside_the_one_file_that_may_import_it(house: Path, line: str) -> None:
    def codes(file: str) -> str:
        command = [sys.executable, "-m", "ruff", "check", "--no-cache", "--select", "TID", file]
        return subprocess.run(command, cwd=house, capture_output=True, text=True).stdout

    for file in ("serve/chat.py", "serve/deployments.py"):
        (house / file).write_text(line + "\n")
    assert "TID251" in codes("serve/chat.py")
    assert "TID251" not in codes("serve/deployments.py")


def absolute_imports_of_its_own(source: str, package: str) -> Iterator[str]:
    """Modules of `package`, imported by their full name in one of its own files."""
    for node in ast.walk(ast.parse(source)):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.level == 0:
            names = [node.module or ""]
        yield from (name for name in names if f"{name}.".startswith(f"{package}."))


@pytest.mark.parametrize("name", PACKAGES)
def test_imports_inside_a_package_are_relative(name: str) -> None:
    absolute = []
    for path in PACKAGES[name].rglob("*.py"):
        package = ".".join([name, *path.parent.relative_to(PACKAGES[name]).parts])
        absolute += [
            (str(path.relative_to(ROOT)), module)
            for module in absolute_imports_of_its_own(path.read_text(), package)
        ]
    assert absolute == []


def test_an_absolute_import_inside_a_package_would_be_noticed() -> None:
    source = (
        "import serve.api.schema\nfrom serve.api import auth\nfrom .schema import Body\nimport serve.apiary"
    )
    assert list(absolute_imports_of_its_own(source, "serve.api")) == ["serve.api.schema", "serve.api"]
