"""The `errata` command as a test calls it: in this process, with its status, output and complaints."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import structlog

from serve import cli

Errata = Callable[..., tuple[int, str, str]]


def command_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Errata:
    """`errata(*words)`: exit status, output and complaints of `errata WORDS`, as `main` has them."""
    monkeypatch.setenv("COLUMNS", "60")  # narrow: what must stay whole is not to be broken
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.delenv("ERRATA_BASE_URL", raising=False)
    monkeypatch.delenv("ERRATA_API_KEY", raising=False)

    def errata(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["errata", *map(str, words)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended, _silent_logs():
            cli.main()
        captured = capsys.readouterr()
        return int(ended.value.code or 0), captured.out, captured.err

    return errata


@contextmanager
def _silent_logs() -> Iterator[None]:
    """Of a server that runs in this process: its lines would stand among those of the command."""
    before = structlog.get_config()["logger_factory"]
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    try:
        yield
    finally:
        structlog.configure(logger_factory=before)


def complaint(answer: tuple[int, str, str], status: int = 2) -> str:
    """The one line that says what is wrong."""
    ended, _, err = answer
    assert ended == status
    assert err.startswith("errata: ")
    assert err.count("\n") == 1, err
    return err.removeprefix("errata: ").strip()


def documents(output: str) -> list[Any]:
    """What `--json` printed: an object of several lines each."""
    return [json.loads(found) for found in re.findall(r"^\{\n.*?^\}$", output, re.M | re.S)]


def document(answer: tuple[int, str, str], status: int = 0) -> Any:
    ended, out, err = answer
    assert ended == status, err
    (one,) = documents(out)
    return one
