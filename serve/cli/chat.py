"""`errata chat`: talk about a picture in the terminal, and correct what is wrong right there."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from .complaints import complaint_about
from .connection import connect
from .options import DEFAULT_URL, Key, Url
from .output import speaker

if TYPE_CHECKING:
    from rich.console import Console

    from .conversation import Conversation

COMMANDS = {
    "/correct": "correct the last answer in your editor (EDITOR)",
    "/right": "nothing was wrong with the last answer",
    "/image FILE": "talk about another picture",
    "/new": "forget what was said, keep the picture",
    "/help": "show this",
    "/quit": "leave; so does Ctrl+D",
}


def chat(
    image: Annotated[
        str | None, typer.Argument(help="The picture: a file, or a URL that the server may fetch.")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(help="NAME@v0003 or NAME@base asks that version; by default whoever is live."),
    ] = None,
    temperature: Annotated[float | None, typer.Option(min=0, help="0 is greedy.")] = None,
    max_tokens: Annotated[int | None, typer.Option(min=1, help="Length of an answer.")] = None,
    author: Annotated[str | None, typer.Option(help="Who corrects, for the server's records.")] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="A JSON document for each answer and each correction.")
    ] = False,
    url: Url = DEFAULT_URL,
    key: Key = "none",
) -> None:
    """Talk about a picture; /correct opens the last answer in your editor, and /help shows what else there is.

    Questions can be piped in, one a line. Ctrl+C stops an answer.
    """
    from .conversation import Asked, Conversation

    say = speaker(as_json)
    asked = Asked(model, temperature, max_tokens, author)
    with connect(url, key) as client:
        conversation = Conversation(client, asked, say, as_json)
        if image is not None:
            conversation.look_at(image)
        if sys.stdin.isatty():
            say.print(
                "Ask, or /correct the answer; /help shows what else there is.", style="dim", highlight=False
            )
        for line in _typed(say):
            if line in ("/quit", "/exit"):
                break
            _answer(conversation, line, say)


def _answer(conversation: Conversation, line: str, say: Console) -> None:
    """On a terminal the talk goes on after what went wrong; piped in, it ends there."""
    try:
        _obey(conversation, line, say)
    except KeyboardInterrupt:
        say.print("\nstopped", style="dim")
    except Exception as error:
        complaint = complaint_about(error)
        if complaint is None or not sys.stdin.isatty():
            raise
        for told in complaint.lines:
            say.print(f"[bold red]errata:[/] {escape(told)}", highlight=False, soft_wrap=True)


def _obey(conversation: Conversation, line: str, say: Console) -> None:
    word, _, rest = line.partition(" ")
    if word == "/correct":
        conversation.correct()
    elif word == "/right":
        conversation.approve()
    elif word == "/image":
        conversation.look_at(rest.strip())
    elif word == "/new":
        conversation.forget()
    elif word.startswith("/"):
        if word != "/help":
            say.print(f"there is no {escape(word)}", highlight=False)
        for name, meaning in COMMANDS.items():
            say.print(f"  [bold]{name:<12}[/] {meaning}", highlight=False)
    else:
        conversation.ask(line)


def _typed(say: Console) -> Iterator[str]:
    """What the user types, line by line, without empty ones."""
    if sys.stdin.isatty():
        import readline  # noqa: F401  # input() gets a history and the arrow keys
    while True:
        try:
            line = say.input("[bold cyan]you>[/] ") if sys.stdin.isatty() else input()
        except EOFError:
            return
        if line.strip():
            yield line.strip()
