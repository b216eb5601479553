"""`errata adapters`: what was learned, and which of it serves."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from .connection import connect
from .options import DEFAULT_URL, AsJson, Key, Url
from .output import console, print_answer, print_json
from .story import tell

if TYPE_CHECKING:
    from errata import Comparison, Rollout

app = typer.Typer(help="List, show, admit, promote and roll back what was learned.", no_args_is_help=True)


@app.command("list")
def list_adapters(as_json: AsJson = False, url: Url = DEFAULT_URL, key: Key = "none") -> None:
    """All versions, newest first, and which one is live."""
    with connect(url, key) as client:
        adapters = client.adapters.list()
        comparison = client.adapters.comparison() if adapters.in_force.is_judged else None
    if as_json:
        compared_json = None if comparison is None else comparison.model_dump(mode="json")
        print_json({**adapters.model_dump(mode="json"), "comparison": compared_json})
        return
    table = Table("version", "status", "digest", "run", "pairs")
    for adapter in adapters.data:
        place = {adapters.in_force.live: "live", adapters.in_force.candidate: "candidate"}.get(
            adapter.version
        )
        table.add_row(
            f"[bold green]{adapter.version} ({place})[/]" if place else adapter.version,
            adapter.status if adapter.tainted is None else f"{adapter.status}, tainted",
            adapter.digest[:12],
            adapter.run_id,
            "" if adapter.num_pairs is None else str(adapter.num_pairs),
        )
    console.print(table if adapters.data else "There is no adapter yet.")
    if adapters.in_force.live == "base":
        console.print("The base model is live.")
    if comparison is not None:
        console.print(compared(comparison))


@app.command("show")
def show_adapter(version: str, as_json: AsJson = False, url: Url = DEFAULT_URL, key: Key = "none") -> None:
    """The whole story of a version: its run, what it learned from, the verdict, and where it served."""
    with connect(url, key) as client:
        story = client.adapters.get(version)
    if as_json:
        print_answer(story)
    else:
        tell(story)


@app.command("report")
def report_adapter(
    version: str,
    output: Annotated[Path | None, typer.Option(help="File; by default VERSION.html.")] = None,
    as_json: AsJson = False,
    url: Url = DEFAULT_URL,
    key: Key = "none",
) -> None:
    """Save what the gate measured and decided, as a page with plots."""
    with connect(url, key) as client:
        adapter = client.adapters.get(version)
        page = client.alignments.report(adapter.run_id)
    file = output or Path(f"{adapter.version}.html")
    file.write_text(page, encoding="utf-8")
    if as_json:
        print_json({"version": adapter.version, "run_id": adapter.run_id, "file": str(file)})
    else:
        console.print(f"Wrote {escape(str(file))}.")


@app.command("admit")
def admit_adapter(version: str, as_json: AsJson = False, url: Url = DEFAULT_URL, key: Key = "none") -> None:
    """Let a version that the gate held for review serve after all; look at its report first."""
    with connect(url, key) as client:
        adapter = client.adapters.admit(version)
    if as_json:
        print_answer(adapter)
    else:
        console.print(
            f"{adapter.version} is {adapter.status}; `errata adapters promote {adapter.version}` serves it"
        )


@app.command("retire")
def retire_adapter(version: str, as_json: AsJson = False, url: Url = DEFAULT_URL, key: Key = "none") -> None:
    """Never let a version serve again; its story stays."""
    with connect(url, key) as client:
        adapter = client.adapters.retire(version)
    if as_json:
        print_answer(adapter)
    else:
        console.print(f"{adapter.version} is {adapter.status}")


@app.command("promote")
def promote_adapter(
    version: str,
    share: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            help="Only to that share of the people, beside the live version: 0.05 is 5 %, 0.001 one per mille.",
        ),
    ] = None,
    as_json: AsJson = False,
    url: Url = DEFAULT_URL,
    key: Key = "none",
) -> None:
    """Serve an admitted version (or `base`) to everyone, or to a share as a candidate."""
    with connect(url, key) as client:
        rollout = client.adapters.promote(version, share=share)
    _tell_rollout(rollout, as_json)


@app.command("rollback")
def rollback_adapter(as_json: AsJson = False, url: Url = DEFAULT_URL, key: Key = "none") -> None:
    """End a candidate's share; without a candidate, serve the version that was live before this one."""
    with connect(url, key) as client:
        rollout = client.adapters.rollback()
    _tell_rollout(rollout, as_json)


def _tell_rollout(rollout: Rollout, as_json: bool) -> None:
    if as_json:
        print_answer(rollout)
    else:
        console.print(describe(rollout), highlight=False)


def compared(comparison: Comparison) -> Table:
    """Corrections and failures of the new version beside the other's; at the full evidence it is rolled back."""
    new, other = comparison.version, comparison.other
    progress = f"{new.answers:,} of {comparison.num_answers:,} answers"
    title = {"canary": "A candidate beside the live version", "live": "The live version and the one before"}
    table = Table("", new.version, other.version, "evidence", title=f"{title[comparison.kind]}: {progress}")
    table.add_row(
        "corrected of 1,000",
        _rate(new.corrected, new.answers, new.corrected_per_1000),
        _rate(other.corrected, other.answers, other.corrected_per_1000),
        _evidence(comparison.evidence_corrected, comparison.threshold),
    )
    table.add_row(
        "failed of 1,000",
        _rate(new.failed, new.ended, new.failed_per_1000),
        _rate(other.failed, other.ended, other.failed_per_1000),
        _evidence(comparison.evidence_failed, comparison.threshold),
    )
    return table


def _rate(count: int, of: int, per_1000: float | None) -> str:
    return "no answer yet" if per_1000 is None else f"{per_1000:.1f} ({count:,} of {of:,})"


def _evidence(value: float, threshold: float) -> str:
    return f"{value:.3g} of {threshold:g}"


def describe(rollout: Rollout) -> str:
    """Who answers by it, in one line."""
    share = f", {rollout.candidate} for {rollout.share:.1%} of the people" if rollout.candidate else ""
    return f"generation {rollout.generation}: {rollout.live}{share}, {rollout.phase}"
