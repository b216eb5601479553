"""`errata align`: ask for a run and follow it."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.markup import escape

from .options import DEFAULT_URL, ApiKey, Url, console


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
        with console.status("waiting for the aligner") as status:
            run = client.alignments.wait(run.id, on_progress=lambda now: status.update(_progress(now)))
    console.print(f"run {run.id}: [bold]{run.status}[/] {run.adapter or ''} {escape(run.reason or '')}")
    if run.status == "held":
        console.print(
            f"`errata adapters report {run.adapter}` shows why; `errata adapters admit` lets it serve."
        )
    if run.status == "failed":
        raise typer.Exit(1)


def _progress(run: Any) -> str:
    progress = run.progress or {}
    steps = f" step {progress['step']:.0f}/{progress['num_steps']:.0f}" if "num_steps" in progress else ""
    return f"{run.status}{steps}"
