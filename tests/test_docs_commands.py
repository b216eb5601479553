"""What the documents tell to type is there and works: taken by the real command line, and run where that is cheap."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from command_line import command_line
from fake_engine import FakeEngine
from served import listening, serving
from typer.main import get_command

from align.scenes import MODEL_PATH
from align.scenes.annotator import annotate
from align.scenes.draw import png_bytes
from align.scenes.world import sample_scene
from align.spans import apply_spans
from benchmarks.scenes import Speaker
from serve.cli import app

ROOT = Path(__file__).parent.parent
DOCUMENTS = ["README.md", *(f"docs/{name}.md" for name in ("start", "your-model", "datasets", "operate"))]
CHEAP = ("adapters list", "keys create")


def blocks(document: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / document).read_text(), flags=re.DOTALL)


def typed(document: str) -> list[list[str]]:
    """The words after `errata` of each such line in the document's shell blocks."""
    lines = [line for block in blocks(document, "bash") for line in block.splitlines()]
    found = [shlex.split(line, comments=True) for line in lines if re.match(r"(\.venv/bin/)?errata ", line)]
    return [words[1:] for words in found]


def parse(words: list[str]) -> str:
    """The command that is named, with its arguments and options taken as the real one takes them."""
    command: Any = get_command(app)
    context = command.make_context("errata", list(words), resilient_parsing=False)
    path = []
    while getattr(command, "commands", None):
        name, command, rest = command.resolve_command(context, [*context._protected_args, *context.args])
        path.append(name)
        context = command.make_context(name, rest, parent=context)
    return " ".join(path)


ALL = [(document, words) for document in DOCUMENTS for words in typed(document)]


@pytest.mark.parametrize(
    ("document", "words"), ALL, ids=lambda value: " ".join(value) if isinstance(value, list) else value
)
def test_a_command_is_taken_as_it_is_written(document: str, words: list[str]) -> None:
    assert " ".join(words).startswith(parse(words))


def test_a_command_that_there_is_not_is_noticed() -> None:
    for words in (["adapters", "lift"], ["up", "--modle", "x"], ["import", "file.jsonl"]):
        with pytest.raises(Exception, match=r"(?i)no such|missing"):
            parse(words)


def test_there_are_commands_to_parse() -> None:
    assert {"up", "align", "adapters list", "keys create", "import"} <= {parse(words) for _, words in ALL}


def test_commands_of_the_quick_start_work_as_they_are_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    errata = command_line(monkeypatch, capsys)
    cheap = [words for words in typed("docs/start.md") if " ".join(words).startswith(CHEAP)]
    assert len(cheap) == 3
    monkeypatch.chdir(tmp_path)
    with serving(tmp_path / ".errata") as served, listening(served) as url:
        monkeypatch.setenv("ERRATA_BASE_URL", f"{url}/v1")
        for words in cheap:
            status, _, complaint = errata(*words)
            assert (status, complaint) == (0, ""), words
        assert served.store.keys.exist()


@pytest.mark.parametrize("document", ["README.md", "docs/start.md"])
def test_the_first_lines_of_python_correct_an_answer(
    document: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = blocks(document, "python")[0]
    monkeypatch.chdir(ROOT)
    monkeypatch.delenv("ERRATA_API_KEY", raising=False)
    engine = FakeEngine(answers={"base": "There is a red sun and a yellow boat."})
    with serving(tmp_path / "state", engine) as served, listening(served) as url:
        monkeypatch.setenv("ERRATA_BASE_URL", f"{url}/v1")
        names: dict[str, Any] = {}
        exec(program, names)
        names["client"].close()
        (stored,) = served.store.corrections.page(10)
    assert stored.corrected_text == "There is a red sun and a yellow car."
    assert [span["kind"] for span in stored.spans] == ["object"]


def test_the_embedded_model_tells_of_their_picture_what_they_correct() -> None:
    scene = sample_scene("honest", "test", 31)
    assert (ROOT / "docs" / "images" / "scene.png").read_bytes() == png_bytes(scene)
    (told,) = Speaker(str(MODEL_PATH), None).greedy([scene], ["Describe the picture."])
    assert "a yellow boat" in told
    assert apply_spans(told, annotate(told, scene) or []) == told.replace("yellow boat", "yellow car")


def test_the_correction_by_curl_is_one_that_the_server_takes(tmp_path: Path) -> None:
    (line,) = (
        one
        for block in blocks("docs/start.md", "bash")
        for one in [block.replace("\\\n", "")]
        if "curl" in one
    )
    words = shlex.split(line)
    assert words[1] == "http://127.0.0.1:8000/feedback"
    content = words[words.index("-d") + 1]
    with serving(tmp_path, FakeEngine(answers={"base": "A red cup and a fork."})) as served:
        content = content.replace("chatcmpl-...", served.respond())
        headers = dict([words[words.index("-H") + 1].split(": ")])
        assert served.client.post("/feedback", content=content, headers=headers).status_code == 201
