"""The life of one run: freeze what it learns from -> train -> measure -> decide -> publish."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .config import AlignmentConfig
from .errors import AlignError, Conflict
from .gate import Measurements, Verdict, decide
from .gate.measurement import measure
from .gate.report import Report, report_folder, without_nan
from .job import run_job
from .manifest import Frozen, freeze
from .provenance import provenance_of
from .state import Adapter, Blobs, Run, Store
from .state.rollouts import BASE
from .training import TrainingResult

Metrics = dict[str, float]


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
    `TrainingFailed`, `Conflict` where the run was given up or what it learns from erased; the caller records them.
    """
    try:
        frozen = freeze(store, blobs, config)
        manifest = frozen.manifest(base, provenance_of(base), config)
        store.runs.update(run.id, manifest=manifest)
        result = _train(store, run, base, frozen, config, workspace)
        store.runs.update(run.id, status="gating", progress=_training_report(result))
        verdict, measurements = judge(store, blobs, frozen, base, Path(result.adapter), config)
        Report(run.id, manifest, verdict, measurements).write(workspace / "report")
        blobs.put_folder(workspace / "report", report_folder(run.id))
        report = {"training": _training_report(result), "gate": without_nan(verdict.to_json())}
        return publish(store, blobs, run, result, verdict, report)
    finally:
        shutil.rmtree(workspace, ignore_errors=True)


def judge(
    store: Store, blobs: Blobs, frozen: Frozen, base: str, candidate: Path, config: AlignmentConfig
) -> tuple[Verdict, Measurements]:
    """Measure live and candidate on the same items, and decide. What cannot be measured is refused."""
    live = None if frozen.live == BASE else blobs.fetch_folder(store.adapters.get(frozen.live).blob)
    try:
        measurements = measure(base, live, candidate, frozen.held_out, frozen.general, config)
    except (AlignError, RuntimeError) as error:  # torch raises RuntimeError for memory and for shapes
        return Verdict("refused", (f"refused: the candidate could not be measured: {error}",)), Measurements()
    return decide(measurements, config.gate), measurements


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


def _train(
    store: Store, run: Run, base: str, frozen: Frozen, config: AlignmentConfig, workspace: Path
) -> TrainingResult:
    """Stops, with `Conflict`, as soon as something that the run has seen is erased: its words lie in the workspace."""
    try:
        watch = _watch(store, run)
        return run_job(base, frozen.train, config.training, workspace, _reporter(store, run), watch)
    finally:
        store.erasures.check(run.id)


def _watch(store: Store, run: Run, every_s: float = 2.0) -> Callable[[], bool]:
    """Whether something that the run has seen was erased; looked up at most once in a while."""
    last = time.monotonic()

    def has_lost() -> bool:
        nonlocal last
        if time.monotonic() - last < every_s:
            return False
        last = time.monotonic()
        try:
            store.erasures.check(run.id)
        except Conflict:
            return True
        return False

    return has_lost


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
