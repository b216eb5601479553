"""`errata align`: ask for a run and follow it. `errata alignments`: how runs stand, and how to end one."""

from __future__ import annotations

import json
from typing import Annotated

import typer
from rich.markup import escape

from .options import DEFAULT_URL, ApiKey, Url, console
from .run_progress import showing
from .story import moment

app = typer.Typer(help="List, show and cancel runs.", no_args_is_help=True)


def align(
    url: Url = DEFAULT_URL,
    api_key: ApiKey = "none",
    wait: Annotated[bool, typer.Option(help="Follow the run to its end.")] = True,
) -> None:
    """Train on the corrections so far, judge the result, and serve it if it is better."""
    from errata import Errata

    with Errata(base_url=url, api_key=api_key) as client:
        run = client.alignments.create()
        console.print(f"run {run.id}: {run.status}")
        if not wait:
            return
        with showing(console) as show:
            ended = run.wait(on_progress=show)
    told = f"run {ended.id}: [bold]{ended.status}[/] {ended.adapter or ''} {escape(ended.reason or '')}"
    console.print(told, soft_wrap=True)
    if ended.status == "held":
        console.print(
            f"`errata adapters report {ended.adapter}` shows why; `errata adapters admit` lets it serve."
        )
    if ended.status in ("failed", "cancelled"):
        raise typer.Exit(1)


@app.command("list")
def list_alignments(url: Url = DEFAULT_URL, api_key: ApiKey = "none") -> None:
    """The last 100 runs, the newest first."""
    from errata import Errata

    with Errata(base_url=url, api_key=api_key) as client:
        runs = client.alignments.list()
    for run in runs:
        made = f" {run.adapter}" if run.adapter else ""
        numbers = f"by {run.trigger}, {run.num_corrections} corrections, {moment(run.created)}"
        console.print(f"[bold]{run.id}[/] {run.status}{made}, {numbers}", soft_wrap=True)
        if run.reason:
            console.print(f"  {escape(run.reason)}", soft_wrap=True, highlight=False)
    if not runs:
        console.print("There was no run yet.")


@app.command("show")
def show_alignment(run_id: str, url: Url = DEFAULT_URL, api_key: ApiKey = "none") -> None:
    """All that the server tells of one run, as JSON."""
    from errata import Errata

    with Errata(base_url=url, api_key=api_key) as client:
        console.print_json(json.dumps(client.alignments.get(run_id).model_dump(mode="json")))


@app.command("cancel")
def cancel_alignment(run_id: str, url: Url = DEFAULT_URL, api_key: ApiKey = "none") -> None:
    """End a run that waits or is under way; nothing of it is published."""
    from errata import Errata

    with Errata(base_url=url, api_key=api_key) as client:
        console.print(f"{run_id} is {client.alignments.cancel(run_id).status}")
