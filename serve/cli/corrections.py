"""`errata corrections`: what people said was wrong, and what came of it."""

from __future__ import annotations

import json
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from .options import DEFAULT_URL, ApiKey, AsJson, Url, console
from .story import moment

if TYPE_CHECKING:
    from errata import Correction, Errata, Span

app = typer.Typer(
    help="Show corrections and what came of them; review what is held back.", no_args_is_help=True
)

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
    as_json: Annotated[bool, typer.Option("--json", help="One a line, as the server answers.")] = False,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = "none",
) -> None:
    """The corrections to which all that is given applies, the newest first."""
    from errata import Errata

    asked = {
        "status": status,
        "reason": reason,
        "author": author,
        "response_id": response,
        "adapter": adapter,
    }
    with Errata(base_url=url, api_key=api_key) as client:
        wanted: dict[str, Any] = {name: value for name, value in asked.items() if value is not None}
        found = islice(client.feedback.list(**wanted, limit=min(limit, 100)), limit)
        is_any = False
        for one in found:
            is_any = True
            if as_json:
                print(one.model_dump_json())
                continue
            _print_head(one)
            _print_edits(one.served_text, one.spans)
    if not (is_any or as_json):
        console.print("There is no such correction.")


@app.command("review")
def review_corrections(
    correction_ids: Annotated[
        list[str] | None, typer.Argument(help="Those to settle; none: list all.")
    ] = None,
    release: Annotated[bool, typer.Option("--release", help="They teach from the next run on.")] = False,
    reject: Annotated[bool, typer.Option("--reject", help="They never teach.")] = False,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = "none",
) -> None:
    """List the corrections in quarantine, and why; or release or reject some of them."""
    from errata import Errata

    if release + reject != bool(correction_ids):
        raise typer.BadParameter(
            "name corrections and one of --release and --reject, or none of them for the list"
        )
    with Errata(base_url=url, api_key=api_key) as client:
        if not correction_ids:
            _list_waiting(client)
        for correction_id in correction_ids or []:
            settle = client.reviews.release if release else client.reviews.reject
            console.print(f"{correction_id}: {settle(correction_id).status}")


def _list_waiting(client: Errata) -> None:
    after = number = 0
    while page := client.reviews.list(after=after):
        for one in page:
            console.print(
                f"[bold]{one.id}[/] from {escape(one.source)}, {moment(one.created)}", soft_wrap=True
            )
            console.print(f"  {one.reason}: {one.explanation}", soft_wrap=True)
            if one.questioned:
                console.print(f"  in question: {escape(', '.join(one.questioned))}", highlight=False)
            _print_edits(one.served_text, one.spans)
        after, number = page[-1].sequence, number + len(page)
    if number == 0:
        console.print("No correction waits for a reviewer.")
    else:
        console.print(f"{number} in quarantine; settle those you name with --release or --reject")


def _print_head(one: Correction) -> None:
    why = f" ({one.reason})" if one.reason else ""
    by = f" by {escape(one.author)}" if one.author else ""
    console.print(f"[bold]{one.id}[/] {one.status}{why}{by}, {moment(one.created)}", soft_wrap=True)
    console.print(f"of {one.response_id}, an answer of {one.adapter}", soft_wrap=True)


def _print_edits(served: str, spans: list[Span]) -> None:
    for span in spans:
        edit = f"{span.kind}: {served[span.start : span.end]!r} -> {span.replacement!r}"
        console.print(f"  {escape(edit)}", highlight=False)
