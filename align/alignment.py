"""The life of one run: freeze what it learns from -> train -> measure -> decide -> publish."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from .abuse.config import SourceShares
from .abuse.shares import over_share
from .config import AlignmentConfig
from .errors import AlignError, Conflict, NothingToLearn
from .examples import Example
from .gate import Measurements, Verdict, criteria, decide
from .gate.measurement import measure
from .job import run_job
from .provenance import Provenance, provenance_of
from .split import drawn_by_lot, judged_by_reviewed, split_examples
from .state import Adapter, Blobs, Run, Store
from .state.corrections import Origin
from .state.examples import corrected_example, uncorrected_example
from .state.rollouts import BASE
from .training import TrainingResult

Metrics = dict[str, float]


@dataclass(frozen=True)
class Frozen:
    """What a run learns from and is judged by; fixed before its first step."""

    train: Sequence[Example]
    held_out: Sequence[Example]
    left_out: Sequence[Example]
    over_share: Sequence[str]  # ids of corrections without which no source has too large a share
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
            "left_out": [example.id for example in self.left_out],
            "over_share": list(self.over_share),
            "general": [example.id for example in self.general],
            "criteria": [asdict(criterion) for criterion in criteria(config.gate)],
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
        verdict, _ = judge(store, blobs, frozen, base, Path(result.adapter), config)
        report = {"training": _training_report(result), "gate": verdict.to_json()}
        return publish(store, blobs, run, result, verdict, report)
    finally:
        shutil.rmtree(workspace, ignore_errors=True)


def freeze(store: Store, blobs: Blobs, config: AlignmentConfig) -> Frozen:
    """Read the corrections as they stand now. Raises `NothingToLearn` where there are none."""
    last_sequence = store.corrections.last_sequence()  # first: what comes meanwhile is for the next run
    origins = store.corrections.origins()
    too_many = _over_share(origins, config.source_shares)
    examples = [
        corrected_example(correction, response, blobs)
        for correction, response in store.corrections.trainable()
        if correction.id not in too_many
    ]
    if not examples:
        raise NothingToLearn("there is no accepted correction yet; correct some answers first")
    reviewed = {origin.correction_id for origin in origins if origin.is_reviewed}
    split = split_examples(examples, config.held_out_share, config.gate.min_items)
    split = judged_by_reviewed(split, reviewed, config.gate.min_items)
    general = list(islice(_general(store, blobs, split.train, config.training.seed), config.max_general))
    live = store.rollouts.desired().live(time.time())
    return Frozen(split.train, split.held_out, split.left_out, sorted(too_many), general, last_sequence, live)


def _over_share(origins: Sequence[Origin], shares: SourceShares) -> frozenset[str]:
    sources = {origin.correction_id: origin.source for origin in origins if not origin.is_reviewed}
    return over_share(sources, len(origins) - len(sources), shares)


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


def _general(store: Store, blobs: Blobs, train: Sequence[Example], seed: int) -> Iterator[Example]:
    """Answers of the base that nobody corrected, in a random order; none about an image that teaches."""
    taught = frozenset[str]().union(*(example.parts for example in train))
    for response_id in drawn_by_lot(store.responses.uncorrected(BASE), seed):
        example = uncorrected_example(store.responses.get(response_id), blobs)
        if taught.isdisjoint(example.parts):
            yield example


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
