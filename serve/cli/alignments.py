"""`errata align`: ask for a run and follow it."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.markup import escape

from .options import DEFAULT_URL, ApiKey, Url, console
from .run_progress import showing


def align(
    url: Url = DEFAULT_URL,
    api_key: ApiKey = "none",
    cancel: Annotated[
        str | None, typer.Option(metavar="RUN", help="End this run, instead of asking for one.")
    ] = None,
    wait: Annotated[bool, typer.Option(help="Follow the run to its end.")] = True,
) -> None:
    """Train on the corrections so far, judge the result, and serve it if it is better."""
    from errata import Errata

    with Errata(base_url=url, api_key=api_key) as client:
        if cancel is not None:
            console.print(f"run {cancel}: {client.alignments.cancel(cancel).status}")
            return
        run = client.alignments.create()
        console.print(f"run {run.id}: {run.status}")
        if not wait:
            return
        with showing(console) as show:
            run = client.alignments.wait(run.id, on_progress=show)
    ended = f"run {run.id}: [bold]{run.status}[/] {run.adapter or ''} {escape(run.reason or '')}"
    console.print(ended, soft_wrap=True)
    if run.status == "held":
        console.print(
            f"`errata adapters report {run.adapter}` shows why; `errata adapters admit` lets it serve."
        )
    if run.status in ("failed", "cancelled"):
        raise typer.Exit(1)
