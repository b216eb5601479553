"""A training run as a job: in the calling process, or as Ray Train workers at low priority.

The run folder is the only channel, so it must be reachable by every worker: examples go in as JSON and image files,
progress comes out line by line, and the adapter appears whole or not at all.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from . import errors
from .config import TrainingConfig
from .durable import write_whole
from .errors import AlignError, TrainingFailed
from .examples import Example
from .steps import Metrics
from .training import OnStep, TrainingResult, train

POLL_S = 0.2


def run_job(
    base: str | Path,
    examples: Sequence[Example],
    config: TrainingConfig,
    folder: Path,
    on_step: OnStep | None = None,
) -> TrainingResult:
    """Train `base` on the examples; the adapter is `folder/adapter`. Blocks, so call it from a thread.

    With `num_workers` the run goes to Ray Train, on the Ray that is initialised already if there is one; `on_step` is
    called in this thread all the same. Raises `NothingToLearn` and `TrainingFailed`, with the worker's reason.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if config.num_workers == 0:
        return train(base, examples, config, folder / "adapter", on_step, folder / "checkpoints")
    write_examples(folder, examples)
    (folder / "progress.jsonl").unlink(missing_ok=True)
    failure = _follow(folder / "progress.jsonl", _Fit(base, config, folder), on_step)
    if failure is not None:
        raise _reason(failure) from failure
    return TypeAdapter(TrainingResult).validate_json((folder / "result.json").read_bytes())


def write_examples(folder: Path, examples: Sequence[Example]) -> None:
    """Examples as JSON, each image once by its SHA-256."""
    images = folder / "images"
    images.mkdir(exist_ok=True)
    for example in examples:
        for sha256, encoded in example.images.items():
            (images / sha256).write_bytes(encoded)
    records = [example.to_json() for example in examples]
    (folder / "examples.json").write_text(json.dumps(records))


def read_examples(folder: Path) -> list[Example]:
    def image(sha256: str) -> bytes:
        return (folder / "images" / sha256).read_bytes()

    return [
        Example.from_json(record, image) for record in json.loads((folder / "examples.json").read_bytes())
    ]


class _Fit(threading.Thread):
    """Ray Train's blocking `fit` in a thread, so that the caller can follow the progress."""

    def __init__(self, base: str | Path, config: TrainingConfig, folder: Path) -> None:
        super().__init__(name="training-job", daemon=True)
        self._base, self._config, self._folder = base, config, folder
        self.failure: Exception | None = None

    def run(self) -> None:
        try:
            _fit(self._base, self._config, self._folder)
        except Exception as error:  # handed to the caller's thread, which raises it
            self.failure = error


def _fit(base: str | Path, config: TrainingConfig, folder: Path) -> None:
    from ray.train import RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    trainer = TorchTrainer(
        _worker,
        train_loop_config={
            "base": str(base),
            "config": config.model_dump(mode="json"),
            "folder": str(folder.resolve()),
        },
        scaling_config=ScalingConfig(
            num_workers=config.num_workers,
            use_gpu=config.device.startswith("cuda"),
            resources_per_worker={"CPU": config.num_cpus},
        ),
        run_config=RunConfig(
            name="ray",
            storage_path=str(folder.resolve()),
            worker_runtime_env={"env_vars": _thread_limits(config.num_threads)},
        ),
    )
    trainer.fit()


def _worker(settings: dict[str, Any]) -> None:
    """What each Ray Train worker runs."""
    config = TrainingConfig.model_validate(settings["config"])
    folder = Path(settings["folder"])
    os.nice(config.niceness)
    with (folder / "progress.jsonl").open("a") as progress:

        def report(metrics: Metrics) -> None:
            progress.write(json.dumps(metrics) + "\n")
            progress.flush()

        result = train(settings["base"], read_examples(folder), config, folder / "adapter", report)
    if result.digest:  # rank 0, which saved the adapter
        write_whole(folder / "result.json", json.dumps(asdict(result)).encode())


def _thread_limits(num_threads: int) -> dict[str, str]:
    """Waiting threads sleep instead of spinning: the box is shared with serving."""
    return {
        "OMP_NUM_THREADS": str(num_threads),
        "MKL_NUM_THREADS": str(num_threads),
        "OMP_WAIT_POLICY": "PASSIVE",
    }


def _follow(progress: Path, fit: _Fit, on_step: OnStep | None) -> Exception | None:
    """Run `fit` and call `on_step` for every whole line that it has written, to the last."""
    fit.start()
    position = 0
    is_running = True
    while is_running:
        fit.join(POLL_S)
        is_running = fit.is_alive()
        written = progress.read_bytes()[position:] if progress.exists() else b""
        whole = written[: written.rfind(b"\n") + 1]
        position += len(whole)
        for line in whole.splitlines():
            if on_step is not None:
                on_step(json.loads(line))
    return fit.failure


def _reason(failure: Exception) -> AlignError:
    """What the worker raised, under its own name where it is one of ours."""
    for error in getattr(failure, "worker_failures", {}).values():
        cause = getattr(error, "cause", error)
        kind = getattr(errors, type(cause).__name__, None)
        if isinstance(kind, type) and issubclass(kind, AlignError):
            return kind(str(cause))
        return TrainingFailed(f"a training worker failed: {type(cause).__name__}: {cause}")
    return TrainingFailed(f"the training job failed: {failure}")
