"""`errata align`: ask for a run and follow it. `errata alignments`: how runs stand, and how to end one."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.markup import escape

from .complaints import NO
from .connection import connect
from .moments import moment
from .options import DEFAULT_URL, AsJson, Key, Url
from .output import console, print_answer, print_list, speaker
from .run_progress import showing

app = typer.Typer(help="List, show and cancel runs.", no_args_is_help=True)


def align(
    wait: Annotated[bool, typer.Option(help="Follow the run to its end.")] = True,
    as_json: AsJson = False,
    url: Url = DEFAULT_URL,
    key: Key = "none",
) -> None:
    """Train on the corrections so far, judge the result, and serve it if it is better.

    Exits with 1 where the run failed or was cancelled.
    """
    say = speaker(as_json)
    with connect(url, key) as client:
        run = client.alignments.create()
        say.print(f"run {run.id}: {run.status}")
        if not wait:
            if as_json:
                print_answer(run)
            return
        with showing(say) as show:
            ended = run.wait(on_progress=show)
    told = f"run {ended.id}: [bold]{ended.status}[/] {ended.adapter or ''} {escape(ended.reason or '')}"
    say.print(told, soft_wrap=True)
    if ended.status == "held":
        say.print(
            f"`errata adapters report {ended.adapter}` shows why; `errata adapters admit` lets it serve."
        )
    if as_json:
        print_answer(ended)
    if ended.status in ("failed", "cancelled"):
        raise typer.Exit(NO)


@app.command("list")
def list_alignments(as_json: AsJson = False, url: Url = DEFAULT_URL, key: Key = "none") -> None:
    """The last 100 runs, the newest first."""
    with connect(url, key) as client:
        runs = client.alignments.list()
    if as_json:
        print_list(runs)
        return
    for run in runs:
        made = f" {run.adapter}" if run.adapter else ""
        numbers = f"by {run.trigger}, {run.num_corrections} corrections, {moment(run.created)}"
        console.print(f"[bold]{run.id}[/] {run.status}{made}, {numbers}", soft_wrap=True)
        if run.reason:
            console.print(f"  {escape(run.reason)}", soft_wrap=True, highlight=False)
    if not runs:
        console.print("There was no run yet.")


@app.command("show")
def show_alignment(run_id: str, as_json: AsJson = False, url: Url = DEFAULT_URL, key: Key = "none") -> None:
    """How one run stands or ended, and the figures of its last step."""
    with connect(url, key) as client:
        run = client.alignments.get(run_id)
    if as_json:
        print_answer(run)
        return
    made = f" {run.adapter}" if run.adapter else ""
    span = f"from {moment(run.created)} to {moment(run.ended)}"
    console.print(f"[bold]{run.id}[/] {run.status}{made}, by {run.trigger}, {span}", soft_wrap=True)
    console.print(f"{run.num_corrections} corrections")
    if run.reason:
        console.print(escape(run.reason), soft_wrap=True, highlight=False)
    for name, value in (run.progress or {}).items():
        console.print(f"  {escape(name)}: {escape(str(value))}", soft_wrap=True, highlight=False)


@app.command("cancel")
def cancel_alignment(run_id: str, as_json: AsJson = False, url: Url = DEFAULT_URL, key: Key = "none") -> None:
    """End a run that waits or is under way; nothing of it is published."""
    with connect(url, key) as client:
        run = client.alignments.cancel(run_id)
    if as_json:
        print_answer(run)
    else:
        console.print(f"{run_id} is {run.status}")
