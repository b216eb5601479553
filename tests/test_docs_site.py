"""The documentation as a site: it builds, names all that there is, and neither its links nor its files lead astray."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from prometheus_client.parser import text_string_to_metric_families
from served import serving
from typer.main import get_command

from serve.cli import app
from serve.engine.config import EngineConfig
from serve.settings import Settings

ROOT = Path(__file__).parent.parent
LOADING = {"src", "srcset", "data", "poster", "action"}


class HtmlPage(HTMLParser):
    """What one page names, leads to and loads."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.code: set[str] = set()
        self._is_code = False
        self.feed(path.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name == "id" and value:
                self.ids.add(value)
            elif tag == "a" and name == "href" and value:
                self.links.append(value)
            elif value and (name in LOADING or (tag == "link" and name == "href")):
                self.loaded.append(value)
        self._is_code = tag == "code"

    def handle_endtag(self, tag: str) -> None:
        self._is_code = False

    def handle_data(self, data: str) -> None:
        if self._is_code:
            self.code.add(data)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As `make docs` builds it; whatever mkdocs warns of ends a strict build."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    paths = [str(ROOT), str(ROOT / "clients" / "python"), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1", "PYTHONPATH": os.pathsep.join(paths)}
    built = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert built.returncode == 0, built.stdout + built.stderr
    return folder


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, HtmlPage]:
    return {path: HtmlPage(path) for path in site.rglob("*.html") if path.name != "404.html"}


def code_of(site: Path, name: str) -> set[str]:
    return HtmlPage(site / "reference" / f"{name}.html").code


def test_every_route_has_an_entry(site: Path, tmp_path: Path) -> None:
    with serving(tmp_path) as served:
        paths = served.client.get("/openapi.json").json()["paths"]
    there = {f"{method.upper()} {path}" for path, methods in paths.items() for method in methods}
    assert len(there) > 30
    assert there - code_of(site, "http") == set()


def leaves(values: dict[str, Any], at: str = "") -> Iterator[str]:
    for name, value in values.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{at}{name}.")
        else:
            yield f"{at}{name}"


def test_every_setting_has_an_entry_with_its_words(site: Path) -> None:
    there = set(leaves(Settings().model_dump()))
    assert {"queue.claim_s", "alignment.training.objective.beta"} <= there
    assert there - code_of(site, "settings") == set()
    text = (site / "reference" / "settings.html").read_text()
    for field in EngineConfig.model_fields.values():
        assert (field.description or "?").split(".")[0].split("`")[0].split("'")[0] in text


def test_every_metric_has_an_entry(site: Path, tmp_path: Path) -> None:
    with serving(tmp_path) as served:
        served.respond()
        page = served.client.get("/metrics").text
    there = {
        f"{family.name}_total" if family.type == "counter" else family.name
        for family in text_string_to_metric_families(page)
    }
    assert {"errata_requests_total", "errata_corrections", "errata_replicas"} <= there
    assert there == {name for name in code_of(site, "metrics") if name.startswith("errata_")}


def commands(command: Any, words: str = "errata") -> Iterator[tuple[str, Any]]:
    below = getattr(command, "commands", {})
    if not below:
        yield words, command
    for name, one in below.items():
        yield from commands(one, f"{words} {name}")


def test_every_command_and_option_has_an_entry(site: Path) -> None:
    there = code_of(site, "commands")
    for words, command in commands(get_command(app)):
        assert words in there
        options = {
            name
            for parameter in command.params
            if parameter.name != "help"
            for name in parameter.opts
            if "--" in name
        }
        assert options <= there, words


def test_the_sdk_has_its_clients_and_their_methods(site: Path) -> None:
    ids = HtmlPage(site / "reference" / "sdk.html").ids
    assert {"errata.Errata.ask", "errata.Reply.correct_span", "errata.alignments.Alignments.create"} <= ids


def test_tables_that_are_computed_are_in_their_place(site: Path) -> None:
    text = (site / "your-model.html").read_text()
    assert "<code>qwen2_5_vl</code>" in text
    # 32 layers of 32 heads of 128 numbers, a key and a value of two bytes each: 2 * 2 * 32 * 32 * 128 = 524,288
    assert re.search(r"<td>llava-1.5-7b-hf</td>\s*<td>14.1</td>\s*<td>[\d.]+</td>\s*<td>524</td>", text)


def test_every_link_leads_to_a_page_and_a_place_that_are_there(pages: dict[Path, HtmlPage]) -> None:
    lost = []
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            target = target / "index.html" if target.is_dir() else target
            is_there = target.is_file()
            if is_there and parts.fragment and target in pages:
                is_there = unquote(parts.fragment) in pages[target].ids
            if not is_there:
                lost.append(f"{path.name}: {link}")
    assert lost == []


def test_nothing_is_loaded_from_elsewhere(site: Path, pages: dict[Path, HtmlPage]) -> None:
    loaded = {link for page in pages.values() for link in page.loaded}
    assert any(link.endswith(".css") for link in loaded)
    assert [link for link in loaded if urlsplit(link).netloc] == []
    for style in site.rglob("*.css"):
        assert not re.search(r"(url\(|@import)\s*['\"]?(https?:)?//", style.read_text()), style.name


DOCUMENTS = [ROOT / name for name in ("README.md", "CONTRIBUTING.md")] + sorted((ROOT / "docs").glob("*.md"))


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_of_a_document_in_the_repository_leads_to_a_file(document: Path) -> None:
    links = re.findall(r"\]\(([^)\s]+)\)", document.read_text())
    generated = {"settings.md", "http.md", "metrics.md", "commands.md"}  # of the site alone
    lost = [
        link
        for link in links
        if not urlsplit(link).scheme
        and urlsplit(link).path
        and Path(urlsplit(link).path).name not in generated
        and not (document.parent / urlsplit(link).path).exists()
    ]
    assert lost == []
