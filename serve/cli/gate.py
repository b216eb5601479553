"""`errata gate`: the verdict on a version, as it was given, or given once more on this machine."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from ..errors import SettingsError
from .complaints import NO
from .connection import connect
from .options import DEFAULT_URL, AsJson, Config, Key, StateOrConfig, Url
from .output import aside, console, print_json, without_progress_bars

if TYPE_CHECKING:
    from rich.table import Table

COLOURS = {"admitted": "green", "refused": "red", "held": "yellow"}


def gate(
    version: Annotated[str, typer.Argument(help="The version to be judged, as v0003.")],
    again: Annotated[
        bool,
        typer.Option(
            "--again", help="Judge it once more, here, from the files in --state; no server is asked."
        ),
    ] = False,
    against: Annotated[
        str | None, typer.Option(help="With --again: the version beside it, or base; else that of its run.")
    ] = None,
    state: StateOrConfig = None,
    config: Annotated[
        Path | None, typer.Option(help="With --again: a file of settings, whose alignment.gate decides.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="With --again: where the base model is now, if it has moved.")
    ] = None,
    as_json: AsJson = False,
    url: Url = DEFAULT_URL,
    key: Key = "none",
) -> None:
    """What the gate measured and decided about a version. Exits with 1 unless it is admitted.

    With --again it measures once more what the version's run was judged by, beside another version or by other
    bounds, and changes nothing.
    """
    if again:
        verdict = _judged_again(version, against, state, config, model)
    elif against or config or state or model:
        raise SettingsError("--against, --state, --config and --model go with --again")
    else:
        with connect(url, key) as client:
            verdict = client.adapters.get(version).report.get("gate") or {}
    if not verdict:
        raise SettingsError(
            f"nothing is kept of a verdict on {version}; `errata gate {version} --again` judges it"
        )
    if as_json:
        print_json(verdict)
    else:
        _tell(version, verdict)
    if verdict["decision"] != "admitted":
        raise typer.Exit(NO)


def _judged_again(
    version: str, against: str | None, state: Path | None, config: Config, model: str | None
) -> dict[str, Any]:

    without_progress_bars()
    from align.gate.report import without_nan
    from align.rejudgement import rejudge
    from align.state import Blobs

    from .server import read_settings
    from .state import existing_store

    warnings.simplefilter("ignore", FutureWarning)  # of libraries among themselves: nothing for users to do
    settings = read_settings(config, {"state": state}, None)
    store = existing_store(settings)
    try:
        blobs = Blobs(settings.blobs_url, cache=settings.state / "cache")
        bounds = None if config is None else settings.alignment.gate
        with aside.status("measuring both versions"):
            verdict = rejudge(store, blobs, version, against=against, base=model, gate=bounds)
    finally:
        store.close()
    judged: dict[str, Any] = without_nan(verdict.to_json())
    return judged


def _tell(version: str, verdict: Mapping[str, Any]) -> None:
    colour = COLOURS.get(verdict["decision"], "bold")
    console.print(f"[bold]{escape(version)}[/] [{colour}]{verdict['decision']}[/]")
    for reason in verdict["reasons"]:
        console.print(f"  {escape(reason)}", highlight=False, soft_wrap=True)
    if verdict.get("comparisons"):
        console.print(_comparisons(verdict))
        console.print(
            f"{verdict['num_held_out']} held-out corrections, {verdict['num_general']} uncorrected answers, "
            f"{verdict['num_unfit']} that the model could not read",
            highlight=False,
        )


def _comparisons(verdict: Mapping[str, Any]) -> Table:
    """Each figure with the change that was found, and how its criteria stand."""
    from rich.box import SIMPLE
    from rich.table import Table

    from align.gate.bootstrap import Interval
    from align.gate.figures import FIGURES

    standings: dict[str, list[str]] = {}
    for finding in verdict["findings"]:
        standings.setdefault(finding["criterion"]["figure"], []).append(finding["standing"])
    table = Table("figure", "beside", "version", "change, with its interval", "images", "", box=SIMPLE)
    table.columns[0].no_wrap = True
    for name, one in verdict["comparisons"].items():
        figure, change = (
            FIGURES[name],
            Interval(**{end: _number(value) for end, value in one["change"].items()}),
        )
        ends = ", ".join(figure.shown_number(end) for end in (change.low, change.high))
        stands = [standing for standing in standings.get(name, []) if standing != "met"]
        table.add_row(
            name,
            figure.shown_mean(_number(one["live"])),
            figure.shown_mean(_number(one["candidate"])),
            f"{figure.shown_number(change.estimate)} [{ends}]",
            str(one["num_images"]),
            ", ".join(stands) or ("met" if name in standings else ""),
        )
    return table


def _number(value: float | None) -> float:
    """JSON has no word for what is no number."""
    return float("nan") if value is None else value
