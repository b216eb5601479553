"""`errata corrections`: what people said was wrong, and what came of it."""

from __future__ import annotations

import json

import typer
from rich.markup import escape
from rich.table import Table

from .options import DEFAULT_URL, ApiKey, AsJson, Url, console
from .story import moment

app = typer.Typer(help="Show corrections and what came of them.", no_args_is_help=True)

ROLES = {"train": "learned from it", "held_out": "was judged by it"}


@app.command("show")
def show_correction(
    correction_id: str, as_json: AsJson = False, url: Url = DEFAULT_URL, api_key: ApiKey = "none"
) -> None:
    """A correction as it is stored, and which adapters learned from it."""
    from errata import Errata

    with Errata(base_url=url, api_key=api_key) as client:
        story = client.feedback.get(correction_id)
    if as_json:
        console.print_json(json.dumps(story.model_dump(mode="json")))
        return
    console.print(f"[bold]{story.id}[/] {story.status}, {moment(story.created)}")
    console.print(f"of {story.response_id}, an answer of {story.adapter}")
    for span in story.spans:
        wrong = story.served_text[span.start : span.end]
        console.print(
            f"  {span.kind}: {escape(repr(wrong))} -> {escape(repr(span.replacement))}", highlight=False
        )
    if not story.used_by:
        console.print("no adapter has seen it")
        return
    table = Table("version", "", "status")
    for use in story.used_by:
        status = f"{use.status}, tainted" if use.is_tainted else use.status
        table.add_row(use.version, ROLES.get(use.role, use.role), status)
    console.print(table)
