"""Every command and its options, from the command line itself."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from typer.main import get_command

from serve.cli import app

from .tables import table

INTRODUCTION = """# Commands

What `errata COMMAND --help` says. Exit codes and what all commands share are in [The command line](../cli.md).
"""


def page() -> str:
    return "\n".join([INTRODUCTION, *(_command(words, command) for words, command in commands())])


def commands() -> Iterator[tuple[str, Any]]:
    """Those that do something, by their words."""
    yield from _below("errata", get_command(app))


def _below(words: str, command: Any) -> Iterator[tuple[str, Any]]:
    below = getattr(command, "commands", {})
    if not below:
        yield words, command
    for name, one in sorted(below.items()):
        yield from _below(f"{words} {name}", one)


def _command(words: str, command: Any) -> str:
    arguments = [one for one in command.params if one.param_type_name == "argument"]
    options = [one for one in command.params if one.param_type_name == "option" and one.name != "help"]
    usage = " ".join([words, *(one.name.upper() for one in arguments)])
    rows = [_row(one) for one in [*arguments, *options]]
    head = f"## `{words}`\n\n    {usage}\n\n{command.help or ''}\n"
    return head + ("\n" + table(("option", "", "default"), rows) if rows else "")


def _row(parameter: Any) -> tuple[str, str, str]:
    is_argument = parameter.param_type_name == "argument"
    names = [parameter.name.upper()] if is_argument else [*parameter.opts, *parameter.secondary_opts]
    default = parameter.default
    is_told = isinstance(default, str | int | float | Path)  # an enum's value is a str, too
    return (
        ", ".join(f"`{name}`" for name in names),
        getattr(parameter, "help", None) or "",
        f"`{getattr(default, 'value', default)}`" if is_told else "",
    )
