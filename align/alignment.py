"""The life of one run: freeze what it learns from -> train -> measure -> decide -> publish."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .config import AlignmentConfig
from .errors import Conflict, NothingToLearn
from .examples import Example
from .gate import Verdict, decide
from .gate.measurement import measure
from .job import run_job
from .provenance import Provenance, provenance_of
from .split import split_examples
from .state import Adapter, Blobs, Run, Store
from .state.examples import corrected_example, uncorrected_example
from .state.rollouts import BASE
from .training import TrainingResult

Metrics = dict[str, float]


@dataclass(frozen=True)
class Frozen:
    """What a run learns from and is judged by; fixed before its first step."""

    train: Sequence[Example]
    held_out: Sequence[Example]
    general: Sequence[Example]
    last_sequence: int
    live: str

    def manifest(self, base: str, provenance: Provenance, config: AlignmentConfig) -> dict[str, Any]:
        return {
            "base": base,
            **provenance.to_json(),
            "seed": config.training.seed,
            "live": self.live,
            "train": [example.id for example in self.train],
            "held_out": [example.id for example in self.held_out],
            "general": [example.id for example in self.general],
            "last_sequence": self.last_sequence,
            "config": config.model_dump(mode="json", include=set(AlignmentConfig.model_fields)),
        }


def align(
    store: Store,
    blobs: Blobs,
    run: Run,
    base: str,
    config: AlignmentConfig,
    workspace: Path,
) -> Adapter:
    """Do a claimed run to its end; returns the adapter it made, admitted, refused or held for review.

    `workspace` is a folder for files on the way; it is removed at the end. Raises `NothingToLearn`,
    `TrainingFailed`, `Conflict` where the run was given up meanwhile; the caller records them.
    """
    try:
        frozen = freeze(store, blobs, config)
        store.runs.update(run.id, manifest=frozen.manifest(base, provenance_of(base), config))
        result = run_job(base, frozen.train, config.training, workspace, _reporter(store, run))
        store.runs.update(run.id, status="gating", progress=_training_report(result))
        verdict = judge(store, blobs, frozen, base, Path(result.adapter), config)
        report = {"training": _training_report(result), "gate": verdict.to_json()}
        return publish(store, blobs, run, result, verdict, report)
    finally:
        shutil.rmtree(workspace, ignore_errors=True)


def freeze(store: Store, blobs: Blobs, config: AlignmentConfig) -> Frozen:
    """Read the corrections as they stand now. Raises `NothingToLearn` where there are none."""
    last_sequence = store.corrections.last_sequence()  # first: what comes meanwhile is for the next run
    examples = [
        corrected_example(correction, response, blobs)
        for correction, response in store.corrections.trainable()
    ]
    if not examples:
        raise NothingToLearn("there is no accepted correction yet; correct some answers first")
    train, held_out = split_examples(examples, config.held_out_share)
    general = [
        uncorrected_example(response, blobs) for response in store.responses.uncorrected(config.max_general)
    ]
    return Frozen(train, held_out, general, last_sequence, store.rollouts.in_force().live)


def judge(
    store: Store, blobs: Blobs, frozen: Frozen, base: str, candidate: Path, config: AlignmentConfig
) -> Verdict:
    """Measure live and candidate on the same items, and decide."""
    live = None if frozen.live == BASE else blobs.fetch_folder(store.adapters.get(frozen.live).blob)
    items, general = measure(
        base,
        live,
        candidate,
        frozen.held_out,
        frozen.general,
        config.gate,
        config.training.objective,
        config.training.device,
    )
    return decide(items, general, config.gate)


def publish(
    store: Store, blobs: Blobs, run: Run, result: TrainingResult, verdict: Verdict, report: dict[str, Any]
) -> Adapter:
    """Files first, then the row that names them and the run's end: a crash leaves no name without files.

    Raises `Conflict` where the run was given up meanwhile, or what it learned from erased; its files go as well.
    """
    blob = f"adapters/{result.digest}"
    blobs.put_folder(Path(result.adapter), blob)
    try:
        return store.adapters.publish(
            run.id,
            status=verdict.decision,
            digest=result.digest,
            blob=blob,
            report=report,
            reason="; ".join(verdict.reasons) or None,
        )
    except Conflict:
        if not store.adapters.using(blob):
            blobs.remove_folder(blob)
        raise


def _reporter(store: Store, run: Run, every_s: float = 1.0) -> Callable[[Metrics], None]:
    """Writes a step's metrics to the run's row, at most once in a while."""
    last = 0.0

    def report(metrics: Metrics) -> None:
        nonlocal last
        if time.monotonic() - last >= every_s or metrics.get("step") == metrics.get("num_steps"):
            last = time.monotonic()
            store.runs.update(run.id, progress=metrics)

    return report


def _training_report(result: TrainingResult) -> dict[str, Any]:
    return {
        "num_pairs": result.num_pairs,
        "skipped": [{"id": skip.example_id, "reason": skip.reason} for skip in result.skipped],
        "seconds": round(result.seconds, 1),
        "margin_quartiles": list(result.margin_quartiles),
        "warnings": list(result.warnings),
        **result.final,
    }
