"""`errata doctor`: whether a server can run here, check by check, each with what to do."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer
from rich.markup import escape

from .complaints import NO
from .connection import api_address
from .options import AsJson, Config, Key, StateOrConfig
from .output import print_json, speaker
from .server import named_after, read_settings

SIGNS = {"good": "[green]good[/]   ", "warning": "[yellow]warning[/]", "problem": "[bold red]problem[/]"}


def doctor(
    model: Annotated[str | None, typer.Option(help="The model that is to be served, as in `up`.")] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on, as in `up`.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on, as in `up`.")] = None,
    state: StateOrConfig = None,
    config: Config = None,
    as_json: AsJson = False,
    url: Annotated[
        str | None, typer.Option(help="Look at the server there, too.", envvar="ERRATA_BASE_URL")
    ] = None,
    key: Key = "none",
) -> None:
    """Look for what keeps a server from running here: versions, device, disk, model, database, port.

    Changes nothing. Exits with 1 where there is a problem; warnings alone are no reason.
    """
    from ..doctor.examination import examine

    given = {"model": model, "model_name": named_after(model), "host": host, "port": port, "state": state}
    settings = read_settings(config, given, None)
    say, findings = speaker(as_json), []
    for finding in examine(settings, None if url is None else api_address(url), key):
        findings.append(finding)
        say.print(
            f"{SIGNS[finding.standing]} [bold]{finding.name}[/]: {escape(finding.found)}",
            highlight=False,
            soft_wrap=True,
        )
        if finding.advice:
            say.print(f"        {escape(finding.advice)}", highlight=False, soft_wrap=True)
    if as_json:
        print_json({"object": "list", "data": [asdict(finding) for finding in findings]})
    if any(finding.standing == "problem" for finding in findings):
        raise typer.Exit(NO)
