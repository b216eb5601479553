"""The client installs alone from its folder: the wheel has what it needs, its types, and nothing of the server."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

CLIENT = Path(__file__).parent.parent / "clients" / "python"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("client")
    shutil.copytree(
        CLIENT, folder / "source", ignore=shutil.ignore_patterns("*.egg-info", "build", ".*_cache")
    )
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--no-index",
    ]
    subprocess.run([*command, "--wheel-dir", folder, folder / "source"], check=True, capture_output=True)
    (file,) = folder.glob("*.whl")
    return file


def test_the_wheel_holds_every_module_and_the_mark_of_types(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as files:
        names = {name for name in files.namelist() if ".dist-info/" not in name}
    assert names == {f"errata/{path.name}" for path in (CLIENT / "errata").iterdir() if path.is_file()}
    assert "errata/py.typed" in names


def test_it_asks_for_openais_client_and_pydantic_and_python_3_10(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as files:
        (path,) = (name for name in files.namelist() if name.endswith("/METADATA"))
        metadata = files.read(path).decode()
    needed = set(re.findall(r"^Requires-Dist: ([\w-]+)", metadata, re.M))
    assert needed == {"openai", "pydantic", "typing-extensions"}
    assert re.findall(r"^Requires-Python: (.*)", metadata, re.M) == [">=3.10"]


def test_it_is_imported_without_the_server(wheel: Path) -> None:
    program = (
        "import sys, errata; print(errata.__file__, *{'serve', 'align', 'numpy', 'PIL'} & sys.modules.keys())"
    )
    out = subprocess.check_output(
        [sys.executable, "-c", program], text=True, cwd=wheel.parent, env={"PYTHONPATH": str(wheel)}
    )
    assert out.split() == [f"{wheel}/errata/__init__.py"]
