"""The page's files: served under a policy that lets nothing else in, and its modules for pages of other sites."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from served import Served, error, serving

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "clients" / "web"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """With a key: the page is for everyone, what it asks for is not."""
    with serving(tmp_path_factory.mktemp("state")) as served:
        served.store.keys.create("somebody", ["chat"])
        yield served


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A page that is served in the place of the real one."""
    (tmp_path / "web" / "style").mkdir(parents=True)
    for name in ("index.html", "element.js", "style/page.css"):
        (tmp_path / "web" / name).write_text(name)
    (tmp_path / "errata.db").write_text("secret")
    monkeypatch.setattr("serve.api.page.FOLDER", tmp_path / "web")
    return tmp_path


def test_the_page_is_there_without_a_key(served: Served) -> None:
    answer = served.client.get("/")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert answer.text == (PAGE / "index.html").read_text()
    assert served.client.get("/web/index.html").text == answer.text
    head = served.client.head("/")
    assert (head.status_code, head.text) == (200, "")


@pytest.mark.parametrize("path", ["/", "/web/element.js", "/web/style/page.css"])
def test_every_file_comes_with_a_policy_that_lets_nothing_else_in(folder: Path, path: str) -> None:
    with serving(folder / "state") as served:
        answer = served.client.get(path)
        assert answer.text == (path.removeprefix("/web/") if path != "/" else "index.html")
        assert answer.headers["content-security-policy"] == POLICY
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["cache-control"] == "no-cache"
        known = {"If-None-Match": answer.headers["etag"]}
        assert path == "/" or served.client.get(path, headers=known).status_code == 304


def test_a_module_may_be_loaded_by_any_page_and_nothing_else_may(folder: Path) -> None:
    with serving(folder / "state") as served:
        origin = {"Origin": "https://shop.example"}
        module = served.client.get("/web/element.js", headers=origin)
        assert "javascript" in module.headers["content-type"]
        assert module.headers["access-control-allow-origin"] == "*"
        assert module.headers["cross-origin-resource-policy"] == "cross-origin"
        for path in ("/", "/web/style/page.css", "/healthz"):
            headers = served.client.get(path, headers=origin).headers
            assert not {"access-control-allow-origin", "cross-origin-resource-policy"} & set(headers)


@pytest.mark.parametrize(
    "path", ["nothing.js", "../errata.db", "..%2ferrata.db", "%2e%2e/errata.db", "style"]
)
def test_there_is_nothing_beside_the_files(folder: Path, path: str) -> None:
    with serving(folder / "state") as served:
        error(served.client.get(f"/web/{path}"), 404)


def test_a_wheel_brings_every_file_of_the_page(tmp_path: Path) -> None:
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(PAGE, tmp_path / "clients" / "web")
    (tmp_path / "serve").mkdir()
    (tmp_path / "serve" / "__init__.py").touch()
    (tmp_path / "serve" / "web").symlink_to((ROOT / "serve" / "web").readlink())
    program = "from setuptools.build_meta import build_wheel; build_wheel('.')"
    made = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True)
    assert made.returncode == 0, made.stderr
    (wheel,) = tmp_path.glob("*.whl")
    inside = {name for name in zipfile.ZipFile(wheel).namelist() if name.startswith("serve/web/")}
    files = {f"serve/web/{path.relative_to(PAGE)}" for path in PAGE.rglob("*") if path.is_file()}
    assert inside == files
