"""The `errata` command put together. Imports nothing that is slow: each command does, when it runs."""

from __future__ import annotations

import io
import sys

import typer
from rich.markup import escape

from . import (
    adapters,
    alignments,
    backup,
    chat,
    corrections,
    datasets,
    doctor,
    drill,
    erase,
    evaluation,
    gate,
    keys,
    server,
)
from .complaints import complaint_about
from .output import aside

app = typer.Typer(
    name="errata",
    help="A model server for multimodal LLMs that learns from its corrections.",
    epilog="Exit status: 0 done, 1 the answer is no, 2 not as asked, 3 not now, 130 Ctrl+C.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.command()(server.up)
app.command()(chat.chat)
app.command()(alignments.align)
app.command()(gate.gate)
app.command("eval")(evaluation.evaluate)
app.command()(server.demo)
app.command()(drill.drill)
app.command()(doctor.doctor)
app.command()(backup.backup)
app.command()(backup.restore)
app.command("import")(datasets.import_file)
app.command("export")(datasets.export_folder)
app.add_typer(adapters.app, name="adapters")
app.add_typer(alignments.app, name="alignments")
app.add_typer(corrections.app, name="corrections")
app.add_typer(erase.app, name="erase")
app.add_typer(keys.app, name="keys")


def main() -> None:
    """The outermost loop: what went wrong is said in one line, with what to do, never as a traceback."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)  # "Ready" is to be seen in a log file at once
    try:
        app()
    except Exception as error:
        complaint = complaint_about(error)
        if complaint is None:
            raise
        for line in complaint.lines:
            aside.print(f"[bold red]errata:[/] {escape(line)}", highlight=False, soft_wrap=True)
        sys.exit(complaint.status)
