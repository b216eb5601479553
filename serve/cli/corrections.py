"""`errata corrections`: what people said was wrong, and what came of it."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from .connection import connect
from .moments import moment
from .options import DEFAULT_URL, AsJson, Key, Url
from .output import console, print_answer, print_list

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from errata import Correction, Errata, Span, WaitingCorrection

app = typer.Typer(
    help="Show corrections and what came of them; review what is held back.", no_args_is_help=True
)

ROLES = {"train": "learned from it", "held_out": "was judged by it"}


@app.command("show")
def show_correction(
    correction_id: str, as_json: AsJson = False, url: Url = DEFAULT_URL, key: Key = "none"
) -> None:
    """A correction as it is stored, and which adapters learned from it."""
    with connect(url, key) as client:
        story = client.feedback.get(correction_id)
    if as_json:
        print_answer(story)
        return
    _print_head(story)
    _print_edits(story.served_text, story.spans)
    if not story.used_by:
        console.print("no adapter has seen it")
        return
    table = Table("version", "", "status")
    for use in story.used_by:
        status = f"{use.status}, tainted" if use.is_tainted else use.status
        table.add_row(use.version, ROLES.get(use.role, use.role), status)
    console.print(table)


@app.command("list")
def list_corrections(
    status: Annotated[
        str | None, typer.Option(help="accepted, quarantined, rejected, nothing_wrong or erased.")
    ] = None,
    reason: Annotated[str | None, typer.Option(help="Code of the rule that held it back.")] = None,
    author: Annotated[str | None, typer.Option(help="Whom its sender names.")] = None,
    response: Annotated[str | None, typer.Option(help="Id of the answer.")] = None,
    adapter: Annotated[str | None, typer.Option(help="Version that gave the answer, or base.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many at most.")] = 20,
    as_json: AsJson = False,
    url: Url = DEFAULT_URL,
    key: Key = "none",
) -> None:
    """The corrections to which all that is given applies, the newest first."""
    asked = {
        "status": status,
        "reason": reason,
        "author": author,
        "response_id": response,
        "adapter": adapter,
    }
    with connect(url, key) as client:
        wanted: dict[str, Any] = {name: value for name, value in asked.items() if value is not None}
        found = list(islice(client.feedback.list(**wanted, limit=min(limit, 100)), limit))
    if as_json:
        print_list(found)
        return
    for one in found:
        _print_head(one)
        _print_edits(one.served_text, one.spans)
    if not found:
        console.print("There is no such correction.")


@app.command("review")
def review_corrections(
    correction_ids: Annotated[
        list[str] | None, typer.Argument(help="Those to settle; none: list all.")
    ] = None,
    release: Annotated[bool, typer.Option("--release", help="They teach from the next run on.")] = False,
    reject: Annotated[bool, typer.Option("--reject", help="They never teach.")] = False,
    as_json: AsJson = False,
    url: Url = DEFAULT_URL,
    key: Key = "none",
) -> None:
    """List the corrections in quarantine, and why; or release or reject some of them."""
    if release + reject != bool(correction_ids):
        raise typer.BadParameter(
            "name corrections and one of --release and --reject, or none of them for the list"
        )
    with connect(url, key) as client:
        if correction_ids:
            settle = client.reviews.release if release else client.reviews.reject
            settled = [settle(correction_id) for correction_id in correction_ids]
        else:
            settled = list(_waiting(client))
    if as_json:
        print_list(settled)
    elif correction_ids:
        for one in settled:
            console.print(f"{one.id}: {one.status}")
    else:
        _print_waiting(settled)


def _waiting(client: Errata) -> Iterator[WaitingCorrection]:
    after = 0
    while page := client.reviews.list(after=after):
        yield from page
        after = page[-1].sequence


def _print_waiting(waiting: Sequence[WaitingCorrection]) -> None:
    for one in waiting:
        console.print(f"[bold]{one.id}[/] from {escape(one.source)}, {moment(one.created)}", soft_wrap=True)
        console.print(f"  {one.reason}: {one.explanation}", soft_wrap=True)
        if one.questioned:
            console.print(f"  in question: {escape(', '.join(one.questioned))}", highlight=False)
        _print_edits(one.served_text, one.spans)
    if waiting:
        console.print(f"{len(waiting)} in quarantine; settle those you name with --release or --reject")
    else:
        console.print("No correction waits for a reviewer.")


def _print_head(one: Correction) -> None:
    why = f" ({one.reason})" if one.reason else ""
    by = f" by {escape(one.author)}" if one.author else ""
    console.print(f"[bold]{one.id}[/] {one.status}{why}{by}, {moment(one.created)}", soft_wrap=True)
    console.print(f"of {one.response_id}, an answer of {one.adapter}", soft_wrap=True)


def _print_edits(served: str, spans: list[Span]) -> None:
    for span in spans:
        edit = f"{span.kind}: {served[span.start : span.end]!r} -> {span.replacement!r}"
        console.print(f"  {escape(edit)}", highlight=False)
