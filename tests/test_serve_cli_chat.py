"""`errata chat`: questions, answers and corrections in a terminal, or piped through."""

from __future__ import annotations

import io
import json
import stat
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from command_line import Errata, command_line, complaint, documents
from errata.feedback import Feedback
from fake_engine import FakeEngine
from openai import APITimeoutError
from served import Served, encoded, listening, serving
from sqlalchemy import select

from align.state import Response, schema
from serve.cli.editor import edited
from serve.errors import SettingsError

TEXT = "A red cup and a fork."
Chat = Callable[..., tuple[int, str, str]]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with serving(tmp_path / "state", FakeEngine(answers={"base": TEXT})) as served:
        yield served


@pytest.fixture
def errata(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Errata:
    return command_line(monkeypatch, capsys)


@pytest.fixture
def chat(errata: Errata, served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Chat]:
    """`chat(typed, *options)`: what comes of `errata chat PICTURE` with lines typed or piped in."""
    picture = tmp_path / "cup.png"
    picture.write_bytes(encoded())
    with listening(served) as address:

        def chat(typed: str, *options: str, in_terminal: bool = False) -> tuple[int, str, str]:
            monkeypatch.setattr(sys, "stdin", (Terminal if in_terminal else io.StringIO)(typed))
            return errata("chat", picture, *options, "--url", address)

        yield chat


@pytest.fixture
def editor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Makes EDITOR a program of which the lines are given; `$1` is the file."""

    def make(script: str) -> None:
        program = tmp_path / "my editor"
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        monkeypatch.delenv("VISUAL", raising=False)
        monkeypatch.setenv("EDITOR", f"'{program}'")

    return make


def kept(served: Served) -> list[Response]:
    """All answers, the oldest first."""
    with served.store.database.read() as connection:
        ids = connection.execute(select(schema.responses.c.id).order_by(schema.responses.c.created)).scalars()
        found = list(ids)
    return [served.store.responses.get(response_id) for response_id in found]


def test_questions_piped_in_are_answered_with_the_version_that_did(chat: Chat, served: Served) -> None:
    status, out, _ = chat(
        "What is this?\n\nAnd now?\n", "--model", "errata-scenes@base", "--temperature", "0"
    )
    assert status == 0
    assert out.count(f"{TEXT}\nbase\n") == 2
    first, second = kept(served)
    told = [[part["type"] for part in message["content"]] for message in first.conversation]
    assert told == [["image", "text"]]
    roles = [message["role"] for message in second.conversation]
    assert roles == ["user", "assistant", "user"]  # the picture once, and what was said since
    assert [part["type"] for part in second.conversation[2]["content"]] == ["text"]
    assert first.sampling["temperature"] == 0


def test_an_answer_is_corrected_in_the_editor_and_told_as_it_was_understood(
    chat: Chat, served: Served, editor: Callable[[str], None]
) -> None:
    editor('sed -i s/red/blue/ "$1"')
    _, out, _ = chat("What?\n/correct\n", "--author", "ada")
    assert "A [-red-]{+blue+} cup and a fork." in out
    assert "other: 'red' -> 'blue'" in out
    assert "the next run learns from it; 1 of the 100 that start one" in out
    ((made, _),) = served.store.corrections.trainable()
    assert (made.corrected_text, made.author) == (TEXT.replace("red", "blue"), "ada")


def test_in_a_terminal_one_letter_says_what_a_change_is_about(
    chat: Chat, served: Served, editor: Callable[[str], None]
) -> None:
    editor("sed -i 's/red/blue/; s/fork/spoon/' \"$1\"")
    _, out, _ = chat("What?\n/correct\na\n\n/quit\nnever asked\n", in_terminal=True)
    assert out.count("is about") == 2
    assert len(kept(served)) == 1
    ((made, _),) = served.store.corrections.trainable()
    assert [span["kind"] for span in made.spans] == ["attribute", "other"]


def test_what_was_edited_is_there_again_when_it_could_not_be_sent(
    chat: Chat,
    served: Served,
    editor: Callable[[str], None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    editor(f'[ -e "{tmp_path}/seen" ] || sed -i s/red/blue/ "$1"; touch "{tmp_path}/seen"')
    failures = iter([APITimeoutError(httpx2.Request("POST", "http://host/feedback"))])
    create = Feedback.create

    def fail_once(*arguments: Any, **options: Any) -> Any:
        for failure in failures:
            raise failure
        return create(*arguments, **options)

    monkeypatch.setattr(Feedback, "create", fail_once)
    chat("What?\n/correct\n\n/correct\n\n/quit\n", in_terminal=True)
    ((made, _),) = served.store.corrections.trainable()
    assert made.corrected_text == TEXT.replace("red", "blue")


def test_what_was_not_changed_is_not_sent(chat: Chat, served: Served, editor: Callable[[str], None]) -> None:
    editor("true")
    assert "nothing was changed" in chat("What?\n/correct\n")[1]
    assert list(served.store.corrections.trainable()) == []


def test_an_editor_that_ends_the_last_line_changes_nothing(editor: Callable[[str], None]) -> None:
    editor('echo >> "$1"')
    assert edited(TEXT) == TEXT
    assert edited(f"{TEXT}\n") == f"{TEXT}\n\n"


def test_an_editor_that_does_not_end_well_or_is_not_there_is_said(
    editor: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    editor("exit 7")
    with pytest.raises(SettingsError, match="ended with status 7; nothing was changed"):
        edited(TEXT)
    monkeypatch.setenv("EDITOR", "no-such-editor")
    with pytest.raises(SettingsError, match=r"cannot start 'no-such-editor'.*set EDITOR"):
        edited(TEXT)
    monkeypatch.delenv("EDITOR")
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(SettingsError, match="no editor is set"):
        edited(TEXT)


def test_what_was_right_is_said_with_a_word(chat: Chat, served: Served) -> None:
    assert "nothing was wrong" in chat("What?\n/right\n")[1]
    assert served.store.corrections.count_by_status() == {"nothing_wrong": 1}


def test_another_picture_and_a_new_talk_forget_what_was_said(
    chat: Chat, served: Served, tmp_path: Path
) -> None:
    other = tmp_path / "other.png"
    other.write_bytes(encoded(size=(4, 4)))
    chat(f"One?\n/image {other}\nTwo?\n/new\nThree?\n")
    one, two, three = kept(served)
    assert [len(response.conversation) for response in (one, two, three)] == [1, 1, 1]
    images = [response.conversation[0]["content"][0]["sha256"] for response in (one, two, three)]
    assert images[0] != images[1] == images[2]


def test_answers_and_corrections_can_be_had_as_json(chat: Chat, editor: Callable[[str], None]) -> None:
    editor('sed -i s/red/blue/ "$1"')
    status, out, err = chat("What?\n/correct\n", "--json")
    answer, made = documents(out)
    assert (status, answer["text"], answer["adapter"], answer["finish_reason"]) == (0, TEXT, "base", "stop")
    assert (made["response_id"], made["corrected_text"]) == (answer["id"], TEXT.replace("red", "blue"))
    assert "[-red-]" in err


def test_piped_in_what_goes_wrong_ends_it_and_in_a_terminal_the_talk_goes_on(chat: Chat) -> None:
    assert complaint(chat("/correct\nWhat?\n")) == "there is no answer yet; ask something first"
    status, out, _ = chat("/correct\n/image nowhere.png\nWhat?\n", in_terminal=True)
    assert status == 0
    assert "errata: there is no answer yet" in out
    assert "errata: nowhere.png: No such file" in out
    assert TEXT in out


def test_a_command_that_is_not_known_shows_those_that_are(chat: Chat) -> None:
    _, out, _ = chat("/korrect\n")
    assert "there is no /korrect" in out
    assert "/correct" in out.replace("/korrect", "")


def test_json_is_json_whatever_the_answer_says(
    errata: Errata, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = 'He said "[red]no[/]" 🙂\n{}'
    with (
        serving(tmp_path / "odd", FakeEngine(answers={"base": text})) as served,
        listening(served) as address,
    ):
        monkeypatch.setattr(sys, "stdin", io.StringIO("What?\n"))
        (answer,) = documents(errata("chat", "--json", "--url", address)[1])
    assert answer["text"] == text
    assert json.loads(json.dumps(answer)) == answer
