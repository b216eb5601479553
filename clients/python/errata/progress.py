"""A run that is waited for, told to the person at the terminal. Knows nothing of where its state comes from."""

from __future__ import annotations

import sys
import time
from typing import TextIO

from .types import Alignment

WIDTH = 24
SHOWN = {"loss": "loss", "rewards/margins": "margin", "rewards/accuracies": "preferred"}
"""The figures of a step that say whether it learns, by their names in the trainer."""


class ProgressLine:
    """On a terminal one line that is written over; elsewhere a line at each change of the status, and now and then."""

    def __init__(self, file: TextIO | None = None, every_s: float = 10.0) -> None:
        self._file = file or sys.stderr
        self._every_s = every_s
        self._status, self._told_at, self._width = "", 0.0, 0

    def __call__(self, alignment: Alignment) -> None:
        text = described(alignment)
        if self._file.isatty():
            self._file.write("\r" + text.ljust(self._width) + ("\n" if alignment.is_ended else ""))
            self._width = len(text)
        else:
            now = time.monotonic()
            if alignment.status == self._status and now - self._told_at < self._every_s:
                return
            self._status, self._told_at = alignment.status, now
            self._file.write(text + "\n")
        self._file.flush()


def described(alignment: Alignment) -> str:
    """A run as it stands, in a line: its status, its steps as a bar, the figures of the last one, how it ended."""
    progress = alignment.progress or {}
    parts = [f"{alignment.id} {alignment.status}"]
    if alignment.is_ended:
        parts += [part for part in (alignment.adapter, alignment.reason) if part]
        return "  ".join(parts)
    if "num_steps" in progress:
        step, num_steps = int(progress["step"]), int(progress["num_steps"])
        done = "#" * (WIDTH * step // max(1, num_steps))
        parts.append(f"[{done:.<{WIDTH}}] {step}/{num_steps}")
    parts += [f"{word} {progress[name]:.3f}" for name, word in SHOWN.items() if name in progress]
    return "  ".join(parts)
