"""The `errata` command put together, and how it says what went wrong."""

from __future__ import annotations

import io
import sys
from typing import NoReturn

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.markup import escape

from align.errors import AlignError

from ..errors import ServeError
from . import adapters, alignments, corrections, datasets, drill, erase, keys, server

app = typer.Typer(
    name="errata",
    help="A model server for multimodal LLMs that learns from its corrections.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.command()(server.up)
app.command()(alignments.align)
app.command()(server.demo)
app.command()(drill.drill)
app.command("import")(datasets.import_file)
app.command("export")(datasets.export_folder)
app.add_typer(adapters.app, name="adapters")
app.add_typer(alignments.app, name="alignments")
app.add_typer(corrections.app, name="corrections")
app.add_typer(erase.app, name="erase")
app.add_typer(keys.app, name="keys")


def main() -> None:
    """The outermost loop: what went wrong is said in one line, with what to do, never as a traceback."""
    from openai import APIConnectionError, APIStatusError, OpenAIError

    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)  # "Ready" is to be seen in a log file at once
    try:
        app()
    except APIConnectionError as error:
        address = error.request.url.copy_with(path="/", query=None)
        _complain(
            f"no server answers at {address}: start one with `errata up`, or name its address with --url"
        )
    except APIStatusError as error:
        detail = error.body.get("message") if isinstance(error.body, dict) else None
        hint = "; set ERRATA_API_KEY or --api-key" if error.status_code == 401 else ""
        _complain(f"{detail or error.message}{hint}")
    except (AlignError, ServeError, OpenAIError) as error:
        _complain(str(error))
    except ValidationError as error:
        _complain(
            *(f"setting {'.'.join(map(str, problem['loc']))}: {problem['msg']}" for problem in error.errors())
        )


def _complain(*problems: str) -> NoReturn:
    for problem in problems:
        Console(stderr=True).print(f"[bold red]errata:[/] {escape(problem)}", highlight=False, soft_wrap=True)
    sys.exit(2)
