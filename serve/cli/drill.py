"""`errata drill`: swaps under load, with what they cost and the proof that they lose nothing."""

from __future__ import annotations

import json
import os
import platform
from contextlib import AbstractContextManager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from ..errors import SettingsError
from .complaints import NO
from .connection import api_address
from .options import AsJson, Key
from .output import print_json, speaker, without_progress_bars

if TYPE_CHECKING:
    from ..drill.plan import Plan
    from ..drill.subject import Subject


def drill(
    swaps: Annotated[int, typer.Option(min=1, help="Promotions and, each fifth, a rollback.")] = 100,
    streams: Annotated[int, typer.Option(min=1, help="People who chat without a pause.")] = 16,
    replicas: Annotated[int, typer.Option(min=1, help="Of the drill's own server.")] = 2,
    quick: Annotated[bool, typer.Option("--quick", help="A few swaps and streams: a minute.")] = False,
    url: Annotated[
        str | None, typer.Option(help="Drill the server there, with --state, in place of one of its own.")
    ] = None,
    state: Annotated[Path | None, typer.Option(help="Folder of the server at --url.")] = None,
    model: Annotated[str | None, typer.Option(help="Model of the server at --url.")] = None,
    key: Key = "none",
    seed: Annotated[int, typer.Option(min=0, help="Seeds the adapters and the order of questions.")] = 0,
    output: Annotated[Path | None, typer.Option(help="File for all figures, as JSON.")] = None,
    as_json: AsJson = False,
) -> None:
    """Swap adapters under load, and compare every answer, token by token, with its version's own.

    Exits with 1 where a request failed or an answer was not wholly by the version that it names.
    """
    without_progress_bars()
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from ..drill.drill import drill
    from ..drill.plan import Plan
    from ..drill.report import table
    from ..launch import end_by_exception_on_sigterm

    end_by_exception_on_sigterm()
    plan = Plan(swaps, streams, replicas, seed=seed)
    plan = plan.quick() if quick else plan
    columns = (TextColumn("swaps"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    say = speaker(as_json)
    with _subject(plan, url, state, model, key) as subject:
        say.print(
            f"{plan.num_swaps} swaps between {', '.join(subject.folders)} at {subject.address}, "
            f"{plan.num_streams} streams",
            highlight=False,
        )
        with Progress(*columns, console=say, transient=True) as progress:
            task = progress.add_task("swaps", total=plan.num_swaps)
            figures = drill(plan, subject, lambda number: progress.update(task, completed=number))
    say.print(table(figures))
    for line in [*sorted(set(figures.failures)), *figures.mixed][:5]:
        say.print(escape(line), style="red", soft_wrap=True)
    told = {**_occasion(), "plan": asdict(plan), **figures.to_json()}
    if output is not None:
        output.write_text(json.dumps(told, indent=2) + "\n")
        say.print(f"Wrote {escape(str(output))}.")
    if as_json:
        print_json(told)
    if not figures.is_correct:
        raise typer.Exit(NO)


def _occasion() -> dict[str, str]:
    return {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
        "date": datetime.now(UTC).date().isoformat(),
    }


def _subject(
    plan: Plan, url: str | None, state: Path | None, model: str | None, key: str
) -> AbstractContextManager[Subject]:
    from ..drill.subject import own_server, running_server

    if url is None:
        return own_server(plan)
    if state is None:
        raise SettingsError("with --url, name that server's folder with --state: its adapters are read there")
    return running_server(api_address(url), key, state, model)
