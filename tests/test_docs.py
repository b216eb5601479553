"""The docs name what there is: a file, command or setting that they leave out or invent fails here."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from served import serving
from typer.main import get_command

from align.config import AlignmentConfig
from serve.api.schema import ChatRequest
from serve.cli import app
from serve.settings import Settings

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
API = (ROOT / "docs" / "api.md").read_text()
STRUCTURE = (ROOT / "docs" / "structure.md").read_text()


@pytest.mark.parametrize("document", [README, STRUCTURE], ids=["README", "structure"])
def test_every_path_that_a_document_names_exists(document: str) -> None:
    paths = re.findall(r"`([\w./-]+/[\w./-]*|[\w-]+/[\w.-]+\.(?:py|md))`", document)
    assert paths
    # Paths may be written from the root, or from the package that a section is about.
    roots = [ROOT, ROOT / "align", ROOT / "serve", ROOT / "align" / "scenes"]
    there = [path for path in paths if "STATE" not in path and not path.startswith("build/")]
    assert [path for path in there if not any((root / path).exists() for root in roots)] == []


def test_the_page_on_the_api_has_every_route_and_no_other(tmp_path: Path) -> None:
    with serving(tmp_path) as served:
        paths = served.client.get("/openapi.json").json()["paths"]
    there = {(method.upper(), path) for path, methods in paths.items() for method in methods}
    assert {("POST", "/v1/feedback"), ("POST", "/feedback")} <= there
    named = set(re.findall(r"`(GET|POST|DELETE) (/\S+)`", API.split("## Answers")[1]))
    both = {(method, f"/v1{path}") for method, path in named if path.startswith("/feedback")}
    assert named | both == there


@pytest.mark.parametrize("package", ["align", "serve"])
def test_structure_has_a_word_on_every_file_and_folder_of_a_package(package: str) -> None:
    names = [
        path.name if path.is_dir() else path.stem
        for path in (ROOT / package).iterdir()
        if not path.name.startswith("_") and (path.is_dir() or path.suffix == ".py")
    ]
    missing = [name for name in names if not re.search(rf"`[^`]*\b{name}\b[^`]*`", STRUCTURE)]
    assert missing == []


def test_structure_stays_a_page() -> None:
    assert len(STRUCTURE.splitlines()) < 50


def test_every_errata_command_in_the_readme_exists_with_its_options() -> None:
    group = get_command(app)
    lines = re.findall(r"(?:\.venv/bin/|`)errata ((?:[a-z]+ ?)+)([^`#\n]*)", README)
    assert lines
    for words, options in lines:
        command = group
        for word in words.split():
            commands = getattr(command, "commands", {})
            if not commands:
                break
            assert word in commands, f"README names `errata {words}`"
            command = commands[word]
        known = {option for parameter in command.params for option in parameter.opts}
        named = re.findall(r"--[a-z-]+", options)
        assert set(named) <= known, f"README: errata {words} {options}"


def test_every_field_of_a_chat_request_has_its_words() -> None:
    chat = (ROOT / "docs" / "chat.md").read_text()
    assert [
        name for name in ChatRequest.model_fields if not re.search(rf"^\|[^|]*`{name}`", chat, re.M)
    ] == []


def test_every_make_target_in_the_readme_exists() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = re.findall(r"^make (\w+)", README, flags=re.MULTILINE)
    assert {"demo", "test"} <= set(targets)
    assert [target for target in targets if not re.search(rf"^{target}:", makefile, flags=re.MULTILINE)] == []


def test_a_default_of_the_readme_is_the_setting_s_default() -> None:
    assert f"({Settings().alignment.min_corrections} by default)" in README
    assert AlignmentConfig().held_out_share == Settings().alignment.held_out_share
