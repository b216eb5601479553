"""A drill's figures for people: one table, each goal marked as met or missed."""

from __future__ import annotations

from rich.table import Table

from .figures import Figures, Tail

MAX_GAP_RATIO = 1.2
MAX_SECONDS = 2.0
MAX_GROWTH = 0.01
ENOUGH_SWAPS = 50


def table(figures: Figures) -> Table:
    result = Table("", "measured", "goal", title="Swaps under load, as seen from the outside")
    if figures.to_last_replica.num < ENOUGH_SWAPS:
        result.caption = "So few swaps show whether answers are dropped or mixed, and little about the tails."
    versions = ", ".join(f"{number:,} by {version}" for version, number in figures.by_version.items())
    result.add_row("requests", f"{figures.num_requests:,}: {versions}", "")
    result.add_row("failed", str(len(figures.failures)), _goal("0", is_met=not figures.failures))
    result.add_row(
        "not token by token what their version alone answers",
        str(len(figures.mixed)),
        _goal("0", is_met=not figures.mixed),
    )
    result.add_row("between two pieces, steady", _milliseconds(figures.steady), "")
    result.add_row("between two pieces, around swaps", _milliseconds(figures.around), "")
    result.add_row(
        "p99 around swaps over p99 steady",
        f"{figures.gap_ratio_p99:.2f}",
        _goal(f"<= {MAX_GAP_RATIO}", is_met=figures.gap_ratio_p99 <= MAX_GAP_RATIO),
    )
    to_last = figures.to_last_replica
    result.add_row(
        f"from the request to the last replica, {to_last.num} swaps",
        f"p50 {to_last.p50:.2f} s, p99 {to_last.p99:.2f} s, max {to_last.max:.2f} s",
        _goal(f"p99 < {MAX_SECONDS:g} s", is_met=to_last.p99 < MAX_SECONDS),
    )
    result.add_row(
        f"growth of memory over {figures.num_loads} loads",
        f"{figures.memory_growth:+.2%} of {_mebibytes(figures)}",
        _goal(f"<= {MAX_GROWTH:.0%}", is_met=figures.memory_growth <= MAX_GROWTH),
    )
    return result


def _goal(text: str, *, is_met: bool) -> str:
    return f"[green]{text}, met[/]" if is_met else f"[bold red]{text}, missed[/]"


def _milliseconds(tail: Tail) -> str:
    return f"p50 {1e3 * tail.p50:.1f} ms, p99 {1e3 * tail.p99:.1f} ms, max {1e3 * tail.max:.1f} ms ({tail.num:,})"


def _mebibytes(figures: Figures) -> str:
    return ", ".join(f"{size / 2**20:.0f} MiB" for size in figures.memory_before.values()) or "no replica"
