"""Every command: explains itself at once, gives JSON where it is asked for, and ends with a status that says how."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import httpx2
import openai
import pytest
from command_line import Errata, command_line, complaint, document
from datasets_on_disk import json_lines
from errata import ReplyIncomplete
from records import adapter_row, correction, response
from served import Served, listening, serving
from typer.main import get_command
from typer.testing import CliRunner

from serve import cli
from serve.cli.complaints import complaint_about
from serve.cli.connection import api_address

ROOT = Path(__file__).parent.parent
ALONE = {("up",), ("demo",), ("doctor",), ("import",), ("export",), ("drill",), ("backup",), ("restore",)}
"""They ask no server, or need none."""
SLOW = {
    *(
        "torch",
        "transformers",
        "ray",
        "peft",
        "numpy",
        "pandas",
        "pyarrow",
        "PIL",
        "matplotlib",
        "sqlalchemy",
        "fsspec",
    ),
    *(
        "safetensors",
        "tokenizers",
        "fastapi",
        "starlette",
        "uvicorn",
        "httpx",
        "httpx2",
        "openai",
        "errata",
        "psutil",
    ),
    *("fsspec", "structlog", "prometheus_client", "huggingface_hub"),
}
"""Typer itself needs pydantic."""


@pytest.fixture
def errata(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Errata:
    return command_line(monkeypatch, capsys)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with serving(tmp_path) as served:
        yield served


def commands() -> list[tuple[str, ...]]:
    top: dict[str, Any] = vars(get_command(cli.app))["commands"]
    inner = [(name, word) for name, command in top.items() for word in vars(command).get("commands", {})]
    return [*((name,) for name in top), *inner]


def test_there_are_the_commands_that_a_user_expects() -> None:
    assert {("up",), ("demo",), ("align",), ("adapters", "list"), ("keys", "create")} <= set(commands())


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_every_command_explains_itself(words: tuple[str, ...]) -> None:
    result = CliRunner().invoke(cli.app, [*words, "--help"], env={"COLUMNS": "100", "NO_COLOR": "1"})
    assert result.exit_code == 0
    assert "Usage: " in result.output
    sentence = r"^ *[A-Z][^\n]{10,}"  # between the usage and the options
    explanation = result.output.split("Usage: ")[1].split("\n", 1)[1].split("Options")[0]
    assert re.search(sentence, explanation, re.M), result.output


def options(words: tuple[str, ...]) -> dict[str, Any]:
    command: Any = get_command(cli.app)
    for word in words:
        command = command.commands[word]
    return {option: parameter for parameter in command.params for option in parameter.opts}


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_every_command_can_answer_in_json_and_name_its_server(words: tuple[str, ...]) -> None:
    if words in [(group,) for group, _ in (one for one in commands() if len(one) == 2)]:
        return  # a group has commands in place of options
    there = options(words)
    assert there["--json"].is_flag
    assert "--api-key" not in there
    if words in ALONE or words[0] == "keys":
        return
    assert there["--url"].envvar == "ERRATA_BASE_URL"
    assert there["--key"].envvar == "ERRATA_API_KEY"


@pytest.mark.parametrize("words", [[], ["chat"], ["doctor"], ["adapters"], ["keys", "create"]], ids=" ".join)
def test_help_loads_nothing_that_is_slow(words: list[str]) -> None:
    """Seconds depend on the machine; what is imported does not."""
    program = (
        "import sys; from serve.cli import main; sys.argv = ['errata', *sys.argv[1:], '--help']\n"
        "try: main()\nexcept SystemExit as ended: assert not ended.code\n"
        "print(*sorted({name.partition('.')[0] for name in sys.modules}), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *words], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert "Usage:" in done.stdout
    loaded = set(done.stderr.split())
    assert loaded & SLOW == set()
    assert "rich" in loaded  # else nothing was looked at


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_can_complete_the_commands(shell: str) -> None:
    """As the shell asks: with what was typed in the environment."""
    instruction = {"bash": "complete_bash", "zsh": "complete_zsh", "fish": "complete_fish"}[shell]
    typed = {"_ERRATA_COMPLETE": instruction, "_TYPER_COMPLETE_ARGS": "errata ad", "COMP_WORDS": "errata ad"}
    environment = {**os.environ, **typed, "COMP_CWORD": "1", "_TYPER_COMPLETE_FISH_ACTION": "get-args"}
    program = "import sys; sys.argv = ['errata']; from serve.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, cwd=ROOT, capture_output=True, text=True
    )
    assert "adapters" in done.stdout
    assert "chat" not in done.stdout


def test_an_address_may_be_written_as_people_write_it() -> None:
    for url in ("host:8000", "http://host:8000", "http://host:8000/", "http://host:8000/v1", "host:8000/v1/"):
        assert api_address(url) == "http://host:8000/v1"
    assert api_address("https://host/errata/v1") == "https://host/errata/v1"


def test_every_answer_of_the_server_can_be_had_as_json(
    errata: Errata, served: Served, tmp_path: Path
) -> None:
    for number in range(3):
        served.store.responses.add(response(f"r{number}"))
        status = "quarantined" if number == 2 else "accepted"
        reason = "repeated_insertion" if number == 2 else None
        served.store.corrections.add(
            correction(f"c{number}", response_id=f"r{number}", status=status, reason=reason)
        )
    adapter_row(served.store, status="held", report={"gate": {"decision": "held"}})
    with listening(served) as address:

        def asked(*words: str, status: int = 0) -> Any:
            return document(errata(*words, "--json", "--url", address), status)

        assert [one["version"] for one in asked("adapters", "list")["data"]] == ["v0001"]
        assert asked("adapters", "admit", "v1")["status"] == "admitted"
        assert asked("adapters", "promote", "base")["live"] == "base"
        assert asked("adapters", "retire", "v1")["status"] == "retired"
        run = asked("align", "--no-wait")
        assert run["status"] == "requested"
        assert run["id"] in [one["id"] for one in asked("alignments", "list")["data"]]
        assert asked("alignments", "cancel", run["id"])["status"] == "cancelled"
        assert [one["id"] for one in asked("corrections", "list")["data"]] == ["c2", "c1", "c0"]
        assert [one["id"] for one in asked("corrections", "review")["data"]] == ["c2"]
        assert asked("corrections", "review", "c2", "--reject")["data"][0]["status"] == "rejected"
        assert asked("erase", "correction", "c0", "--yes")["corrections"] == ["c0"]
        assert asked("erase", "response", "r1", "--yes")["responses"] == ["r1"]
        assert asked("erase", "source", "anonymous", "--yes")["corrections"][-1] == "c2"


def test_what_needs_no_server_answers_in_json_too(errata: Errata, tmp_path: Path) -> None:
    state = ("--state", str(tmp_path / "state"), "--json")
    key = document(errata("keys", "create", "--name", "ada", *state))
    assert (key["name"], key["scopes"], key["secret"][:10]) == ("ada", ["chat", "feedback"], "sk-errata-")
    (listed,) = document(errata("keys", "list", *state))["data"]
    assert listed == {name: value for name, value in key.items() if name != "secret"}
    assert document(errata("keys", "revoke", key["id"], *state)) == {"revoked": key["id"]}
    assert document(errata("keys", "revoke-tokens", *state)) == {"revoked": "all feedback tokens"}
    rows = [{"prompt": "What?", "chosen": "A cup.", "rejected": "A fork."}, {}]
    file = json_lines(tmp_path / "d.jsonl", rows)
    status, out, err = errata("import", file, "--format", "llava", *state)
    assert (status, json.loads(out)) == (1, {"added": 1, "known": 0, "failed": 1})
    assert err.startswith("row 2: ")
    made = json.loads(errata("export", tmp_path / "trl", "--format", "trl", *state)[1])
    assert made == {"written": 1, "failed": 0, "folder": str(tmp_path / "trl")}


REQUEST = httpx2.Request("GET", "http://127.0.0.1:8000/v1/adapters")


@pytest.mark.parametrize(
    ("status", "ends_with"),
    [
        (400, 2),
        (401, 2),
        (403, 2),
        (404, 2),
        (409, 2),
        (410, 2),
        (422, 2),
        (429, 3),
        (500, 3),
        (503, 3),
        (504, 3),
    ],
)
def test_the_status_says_whether_to_try_again(status: int, ends_with: int) -> None:
    error = openai.APIStatusError(
        "message", response=httpx2.Response(status, request=REQUEST), body={"message": "said so"}
    )
    found = complaint_about(error)
    assert found is not None
    assert (found.status, found.lines[0][:7]) == (ends_with, "said so")


def test_no_answer_in_time_is_no_missing_server() -> None:
    found = complaint_about(openai.APITimeoutError(REQUEST))
    assert found is not None
    assert (found.status, "did not answer in time" in found.lines[0]) == (3, True)


def test_a_server_that_is_lost_on_the_way_is_told_as_one_that_was_never_there() -> None:
    request = httpx.Request("GET", "http://127.0.0.1:8000/readyz")
    lost = complaint_about(httpx.ReadError("reset", request=request))
    assert lost is not None
    assert (lost.status, "no server answers at http://127.0.0.1:8000/" in lost.lines[0]) == (3, True)
    refused = complaint_about(
        httpx.HTTPStatusError("401 Unauthorized", request=request, response=httpx.Response(401))
    )
    assert refused is not None
    assert (refused.status, refused.lines) == (2, ("401 Unauthorized; set ERRATA_API_KEY or --key",))


@pytest.mark.parametrize(
    "error", [openai.APIError("the engine failed", REQUEST, body=None), ReplyIncomplete("the stream ended")]
)
def test_an_answer_that_breaks_off_may_come_another_time(error: Exception) -> None:
    found = complaint_about(error)
    assert found is not None
    assert (found.status, found.lines) == (3, (str(error),))


def test_a_bug_of_ours_is_no_complaint() -> None:
    assert complaint_about(KeyError("x")) is None


def test_a_file_that_is_not_there_is_one_line(errata: Errata, served: Served) -> None:
    with listening(served) as address:
        answer = errata("chat", "nowhere.png", "--url", address)
    assert complaint(answer) == "nowhere.png: No such file or directory"


def test_every_status_is_in_the_docs() -> None:
    page = (ROOT / "docs" / "cli.md").read_text()
    assert set(re.findall(r"^\| (\d+) \|", page, re.M)) == {"0", "1", "2", "3", "130"}
