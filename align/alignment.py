"""The life of one run: freeze what it learns from -> train -> measure -> decide -> publish."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import structlog

from .config import AlignmentConfig
from .errors import AlignError, BlobsAway, Conflict, Outdated, TakenOver, TrainingStopped
from .gate import Measurements, Verdict, decide
from .gate.measurement import measure
from .gate.report import Report, report_folder, without_nan
from .job import run_job
from .manifest import Frozen, freeze, thaw
from .provenance import provenance_of
from .state import Adapter, Blobs, Run, Store
from .state.database import AWAY
from .state.rollouts import BASE
from .steps import Metrics
from .training import OnStep, TrainingResult

log = structlog.get_logger()


def align(
    store: Store,
    blobs: Blobs,
    run: Run,
    base: str,
    config: AlignmentConfig,
    workspace: Path,
    should_stop: Callable[[], bool] = lambda: False,
    should_pause: Callable[[], bool] = lambda: False,
    is_to_be_proposed: bool = False,
    on_stage: Callable[[str], None] = lambda _: None,
) -> Adapter:
    """Do a claimed run to its end; returns the adapter it made, admitted, refused or held for review.

    A run that has a manifest was begun before: it goes on as that says, from the checkpoint in `workspace`, a folder
    for files on the way that is removed at the end. Training and measuring wait while `should_pause`. An adapter that
    `is_to_be_proposed` waits in `Proposals` once it is admitted. `on_stage` is told each stage's name as it begins.
    Raises `TrainingStopped` where `should_stop` asked for that; and, for the caller to record, `NothingToLearn`,
    `TrainingFailed`, `Conflict` where the run was given up or what it learns from erased. With `TakenOver`, and where
    the database or the blobs are away (`BlobsAway`), the run is not over, and the folder stays.
    """
    with _folder(workspace):
        on_stage("prepare")
        manifest, frozen = _begin(store, blobs, run, base, config)
        config = AlignmentConfig.model_validate(manifest["config"])
        on_stage("train")
        result = _train(store, run, base, frozen, config, workspace, should_stop, should_pause)
        store.runs.update(run, status="gating", progress=_training_report(result))
        on_stage("measure")
        started = time.monotonic()
        candidate, is_over = Path(result.adapter), _watch(store, run)
        verdict, measurements = judge(store, blobs, frozen, base, candidate, config, is_over, should_pause)
        _check(store, run)
        seconds = round(time.monotonic() - started, 1)
        on_stage("publish")
        Report(run.id, manifest, verdict, measurements).write(workspace / "report")
        with _blobs_in_reach():
            blobs.remove_folder(
                report_folder(run.id)
            )  # of an attempt that broke off, which may have found other figures
            blobs.put_folder(workspace / "report", report_folder(run.id))
        gate = {**without_nan(verdict.to_json()), "seconds": seconds}
        report = {"training": _training_report(result), "gate": gate}
        return publish(store, blobs, run, result, verdict, report, is_to_be_proposed)


def judge(
    store: Store,
    blobs: Blobs,
    frozen: Frozen,
    base: str,
    candidate: Path,
    config: AlignmentConfig,
    is_over: Callable[[], bool] = lambda: False,
    should_pause: Callable[[], bool] = lambda: False,
) -> tuple[Verdict, Measurements]:
    """Measure live and candidate on the same items, and decide. What cannot be measured is refused.

    Raises `BlobsAway` where the live adapter cannot be fetched just now.
    """
    # a copy of its own: a replica may let the live version go meanwhile
    with TemporaryDirectory(prefix="errata-live-") as folder:
        live = None
        if frozen.live != BASE:
            blob = store.adapters.get(frozen.live).blob
            with _blobs_in_reach():
                live = blobs.copy_folder(blob, Path(folder))
        try:
            measurements = measure(
                base, live, candidate, frozen.held_out, frozen.general, config, is_over, should_pause
            )
        except (AlignError, RuntimeError) as error:  # torch raises RuntimeError for memory and for shapes
            reason = f"refused: the candidate could not be measured: {error}"
            return Verdict("refused", (reason,)), Measurements()
    return decide(measurements, config.gate), measurements


def publish(
    store: Store,
    blobs: Blobs,
    run: Run,
    result: TrainingResult,
    verdict: Verdict,
    report: dict[str, Any],
    is_to_be_proposed: bool = False,
) -> Adapter:
    """Files first, then the row that names them and the run's end: a crash leaves no name without files.

    Raises `Conflict` where the run was given up meanwhile, or what it learned from erased; its files go as well. And
    `BlobsAway`.
    """
    blob = f"adapters/{result.digest}"
    with _blobs_in_reach():
        blobs.put_folder(Path(result.adapter), blob)
    try:
        return store.adapters.publish(
            run,
            status=verdict.decision,
            digest=result.digest,
            blob=blob,
            report=report,
            reason="; ".join(verdict.reasons) or None,
            is_to_be_proposed=is_to_be_proposed,
        )
    except TakenOver:  # whoever goes on with the run makes equal files, and may be about to name them
        raise
    except Conflict:
        if not store.adapters.using(blob):
            blobs.remove_folder(blob)
        raise


@contextmanager
def _folder(workspace: Path) -> Iterator[None]:
    """Removed at the end, unless the run goes on there another time."""
    is_over = True
    try:
        yield
    except (TrainingStopped, TakenOver, BlobsAway, *AWAY):
        is_over = False
        raise
    finally:
        if is_over:
            shutil.rmtree(workspace, ignore_errors=True)


@contextmanager
def _blobs_in_reach() -> Iterator[None]:
    """Around what may come after hours of training. Raises `BlobsAway` for whatever the store of the blobs raises."""
    try:
        yield
    except (AlignError, *AWAY, ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
        # what is there, and wrong, stays so; and the database is another matter
        raise
    except Exception as error:  # each store has errors of its own
        raise BlobsAway(f"the blobs cannot be read or written: {type(error).__name__}: {error}") from error


def _begin(
    store: Store, blobs: Blobs, run: Run, base: str, config: AlignmentConfig
) -> tuple[dict[str, Any], Frozen]:
    """Freeze what the run learns from, or read what it froze before it broke off."""
    made_with = provenance_of(base)
    if run.manifest is None:
        frozen = freeze(store, blobs, config)
        manifest = frozen.manifest(base, made_with, config)
        store.runs.update(run, manifest=manifest)
        return manifest, frozen
    changed = [name for name, value in made_with.to_json().items() if run.manifest[name] != value]
    if changed:
        raise Outdated(f"{' and '.join(changed)} changed since the run began; another run is needed")
    with _blobs_in_reach():  # the files of an attempt that broke off because they were away are still here
        return run.manifest, thaw(store, blobs, run.manifest)


def _train(
    store: Store,
    run: Run,
    base: str,
    frozen: Frozen,
    config: AlignmentConfig,
    workspace: Path,
    should_stop: Callable[[], bool],
    should_pause: Callable[[], bool],
) -> TrainingResult:
    """Stops, with `Conflict`, as soon as the run is cancelled, or something that it has seen is erased: its words lie
    in the workspace.
    """
    is_over = _watch(store, run)
    try:
        return run_job(
            base,
            frozen.train,
            config.training,
            workspace,
            _reporter(store, run),
            lambda: should_stop() or is_over(),
            should_pause,
        )
    finally:
        _check(store, run)


def _check(store: Store, run: Run) -> None:
    """Raises `Conflict` where the run may not go on."""
    store.erasures.check(run.id)
    store.runs.check(run)


def _watch(store: Store, run: Run, every_s: float = 2.0) -> Callable[[], bool]:
    """Whether the run may not go on; looked up at most once in a while, and not known while the database is away."""
    last = time.monotonic()

    def is_over() -> bool:
        nonlocal last
        if time.monotonic() - last < every_s:
            return False
        last = time.monotonic()
        try:
            _check(store, run)
        except Conflict:
            return True
        except AWAY as error:
            log.warning("the database is away", run=run.id, reason=str(error))
        return False

    return is_over


def _reporter(store: Store, run: Run) -> OnStep:
    """A step's metrics in the run's row, and now and then in the log."""

    def write(metrics: Metrics) -> None:
        with suppress(TakenOver, *AWAY):  # `_watch` sees to the one, and the next step's may come through
            store.runs.update(run, progress=metrics)

    def say(metrics: Metrics) -> None:
        log.info("training", run=run.id, **metrics)

    tell = at_most_every(1.0, write), at_most_every(10.0, say)

    def report(metrics: Metrics) -> None:
        for one in tell:
            one(metrics)

    return report


def at_most_every(seconds: float, tell: OnStep) -> OnStep:
    """`tell`, for the first step, the last one, and not more often than that in between."""
    last: float | None = None

    def tell_now_and_then(metrics: Metrics) -> None:
        nonlocal last
        now = time.monotonic()
        if last is None or now - last >= seconds or metrics["step"] == metrics["num_steps"]:
            last = now
            tell(metrics)

    return tell_now_and_then


def _training_report(result: TrainingResult) -> dict[str, Any]:
    return {
        "num_pairs": result.num_pairs,
        "skipped": [{"id": skip.example_id, "reason": skip.reason} for skip in result.skipped],
        "seconds": round(result.seconds, 1),
        "margin_quartiles": list(result.margin_quartiles),
        "warnings": list(result.warnings),
        **result.final,
    }
