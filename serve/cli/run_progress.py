"""How a run that is followed shows itself: a bar on a terminal; elsewhere a line of JSON, now and then.

Knows nothing of where the run's state comes from.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TextIO, cast

if TYPE_CHECKING:
    from errata import Alignment
    from rich.console import Console

SHOWN = {"loss": "loss", "rewards/margins": "margin", "rewards/accuracies": "preferred"}
"""The figures of a step that say whether it learns, by their names in the trainer."""


@contextmanager
def showing(console: Console, lines_every_s: float = 10.0) -> Iterator[Callable[[Alignment], None]]:
    """A function to be told of the run whenever it has changed."""
    if not console.is_terminal:
        yield _lines(console, lines_every_s)
        return
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        SpinnerColumn,
        TextColumn,
        TimeElapsedColumn,
    )

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[figures]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("waiting for the aligner", total=None, figures="")

        def show(run: Alignment) -> None:
            progress = run.progress or {}
            bar.update(task, description=run.status, figures=_figures(progress))
            if "num_steps" in progress:
                bar.update(task, completed=int(progress["step"]), total=int(progress["num_steps"]))

        yield show


def _figures(progress: dict[str, Any]) -> str:
    return "  ".join(f"{word} {progress[name]:.3f}" for name, word in SHOWN.items() if name in progress)


def _lines(console: Console, every_s: float) -> Callable[[Alignment], None]:
    """At each change of the status, at its first figures, and in between as often as that."""
    import structlog

    from ..logs import PROCESSORS

    log = structlog.wrap_logger(structlog.PrintLogger(cast(TextIO, console.file)), processors=PROCESSORS)
    told: tuple[str, bool] | None = None
    told_at = 0.0

    def say(run: Alignment) -> None:
        nonlocal told, told_at
        figures = {
            name: value for name, value in (run.progress or {}).items() if isinstance(value, int | float)
        }
        state, now = (run.status, bool(figures)), time.monotonic()
        if state == told and now - told_at < every_s:
            return
        told, told_at = state, now
        log.info("alignment", run=run.id, status=run.status, **figures)

    return say
