"""What the driver of a training run and its workers tell each other: files in one folder that all of them reach.

Examples go in as JSON and image files, progress comes out line by line, and an outcome is there whole or not at all.
Knows nothing of Ray or of training.
"""

from __future__ import annotations

import json
import shutil
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from . import errors
from .durable import write_whole
from .errors import AlignError, TrainingFailed
from .examples import Example


class RunFolder:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.adapter = path / "adapter"
        self.checkpoints = path / "checkpoints"
        self.features = path / "features"
        self.result = path / "result.json"
        self._progress, self._failure = path / "progress.jsonl", path / "failure.json"
        self._stop, self._pause = path / "stop", path / "pause"

    def prepare(self) -> None:
        """Make room for a run, which may be one that broke off here: what is left of it is its checkpoints."""
        self.path.mkdir(parents=True, exist_ok=True)
        self.discard_adapter()
        for left in (self.result, self._progress, self._failure, self._stop, self._pause):
            left.unlink(missing_ok=True)

    def discard_adapter(self) -> None:
        """One without a result is that of a try which died in between."""
        shutil.rmtree(self.adapter, ignore_errors=True)

    def write_examples(self, examples: Sequence[Example]) -> None:
        """Each image once, under its SHA-256."""
        images = self.path / "images"
        images.mkdir(parents=True, exist_ok=True)
        for example in examples:
            for sha256, encoded in example.images.items():
                (images / sha256).write_bytes(encoded)
        records = [example.to_json() for example in examples]
        (self.path / "examples.json").write_text(json.dumps(records))

    def check(self) -> None:
        """Raises `TrainingFailed` where this machine has not what the driver wrote."""
        if not (self.path / "examples.json").exists():
            raise TrainingFailed(
                f"the aligner's folder {self.path} is not on {socket.gethostname()}: put `state` on a disk that all "
                "nodes with training workers reach"
            )

    def read_examples(self) -> list[Example]:
        def image(sha256: str) -> bytes:
            return (self.path / "images" / sha256).read_bytes()

        records = json.loads((self.path / "examples.json").read_bytes())
        return [Example.from_json(record, image) for record in records]

    def write_progress(self, line: Mapping[str, Any]) -> None:
        with self._progress.open("a") as progress:
            progress.write(json.dumps(line) + "\n")

    def read_progress(self, position: int) -> tuple[list[dict[str, Any]], int]:
        """The whole lines written after `position`, in bytes, and the position after them."""
        written = self._progress.read_bytes()[position:] if self._progress.exists() else b""
        whole = written[: written.rfind(b"\n") + 1]
        return [json.loads(line) for line in whole.splitlines()], position + len(whole)

    def ask_to_stop(self) -> None:
        self._stop.touch()

    @property
    def is_asked_to_stop(self) -> bool:
        return self._stop.exists()

    def ask_to_pause(self, is_asked: bool) -> None:
        if is_asked:
            self._pause.touch()
        else:
            self._pause.unlink(missing_ok=True)

    @property
    def is_asked_to_pause(self) -> bool:
        return self._pause.exists()

    def write_failure(self, error: AlignError) -> None:
        """Why the run ends here, where starting it again would change nothing."""
        write_whole(self._failure, json.dumps({"kind": type(error).__name__, "reason": str(error)}).encode())

    def read_failure(self) -> AlignError | None:
        """As an error of the kind that the worker raised."""
        try:
            failure = json.loads(self._failure.read_bytes())
        except FileNotFoundError:
            return None
        kind: type[AlignError] = getattr(errors, failure["kind"])
        return kind(failure["reason"])

    def write_worker(self, rank: int, process: Mapping[str, Any]) -> None:
        """Which process each worker is, for people who look for it."""
        write_whole(self.path / f"worker-{rank}.json", json.dumps(process).encode())

    def read_worker(self, rank: int) -> dict[str, Any]:
        process: dict[str, Any] = json.loads((self.path / f"worker-{rank}.json").read_bytes())
        return process
