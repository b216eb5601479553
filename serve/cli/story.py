"""An adapter's story as people read it: from its run to the answers that it gave. Asks nobody."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.markup import escape
from rich.table import Table

from .moments import moment
from .output import console

if TYPE_CHECKING:
    from errata import AdapterStory, Rollout


def tell(story: AdapterStory) -> None:
    """In the order in which it came about."""
    facts = Table.grid(padding=(0, 2))
    for name, value in lines(story):
        facts.add_row(f"[bold]{name}[/]", escape(value))
    console.print(facts)
    if story.rollouts:
        console.print(_rollouts(story.rollouts))


def lines(story: AdapterStory) -> list[tuple[str, str]]:
    """Names and values; what a run did not record is left out."""
    run, manifest = story.run, story.manifest
    taint = f", tainted since {moment(story.tainted)}" if story.tainted is not None else ""
    said = [
        ("version", f"{story.version}, {story.status}{taint}"),
        ("run", f"{run.id}, by {run.trigger}, from {moment(run.created)} to {moment(run.ended)}"),
        ("learned from", _count(manifest, "train", "corrections")),
        (
            "judged by",
            f"{_count(manifest, 'held_out', 'corrections')}, {_count(manifest, 'general', 'answers')}",
        ),
        ("compared with", manifest.get("live")),
        ("seed", manifest.get("seed")),
        ("base", _with_digest(manifest, "base", "base_digest")),
        ("processor", _with_digest(manifest, None, "processor_digest")),
        ("code", manifest.get("code_version")),
        ("digest", story.digest),
        ("verdict", run.reason),
        ("erased since", ", ".join(story.erased) or None),
        ("answers given", story.num_responses),
    ]
    return [(name, str(value)) for name, value in said if value is not None]


def _count(manifest: dict[str, Any], role: str, what: str) -> str:
    return f"{len(manifest.get(role, []))} {what}"


def _with_digest(manifest: dict[str, Any], name: str | None, digest: str) -> str | None:
    parts = [manifest.get(key) for key in (name, digest) if key is not None]
    return " ".join(str(part) for part in parts if part is not None) or None


def _rollouts(rollouts: list[Rollout]) -> Table:
    table = Table("rollout", "live", "candidate", "share", "phase", "from", "reason")
    for one in rollouts:
        table.add_row(
            str(one.generation),
            one.live,
            one.candidate or "",
            f"{one.share:.0%}" if one.candidate else "",
            one.phase,
            "" if one.effective_at is None else moment(one.effective_at),
            escape(one.reason or ""),
        )
    return table
