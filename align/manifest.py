"""What a run learns from and is judged by, fixed before its first step, and the manifest that names it.

Knows nothing of training or of the gate's figures.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any

from .abuse.config import SourceShares
from .abuse.shares import over_share
from .config import AlignmentConfig
from .errors import NothingToLearn, Outdated
from .examples import Example
from .gate import criteria
from .provenance import Provenance
from .split import drawn_by_lot, judged_by_reviewed, split_examples
from .state import Blobs, Store
from .state.corrections import Origin
from .state.examples import corrected_example, uncorrected_example
from .state.rollouts import BASE


@dataclass(frozen=True)
class Frozen:
    """What a run learns from and is judged by; fixed before its first step."""

    train: Sequence[Example]
    held_out: Sequence[Example]
    left_out: Sequence[str]  # ids of corrections that would be on both sides
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
            "left_out": list(self.left_out),
            "over_share": list(self.over_share),
            "general": [example.id for example in self.general],
            "criteria": [asdict(criterion) for criterion in criteria(config.gate)],
            "last_sequence": self.last_sequence,
            "config": config.model_dump(mode="json", include=set(AlignmentConfig.model_fields)),
        }


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
    left_out = [example.id for example in split.left_out]
    return Frozen(split.train, split.held_out, left_out, sorted(too_many), general, last_sequence, live)


def thaw(store: Store, blobs: Blobs, manifest: dict[str, Any]) -> Frozen:
    """What a manifest names, as it was frozen: for a run that goes on, or one that is to be repeated.

    Raises `Outdated` where some of it may not be used any more.
    """
    if erased := store.erasures.among(manifest):
        raise Outdated(
            f"{', '.join(erased[:3])} of this run's manifest was erased since; another run is needed"
        )

    def corrected(correction_id: str) -> Example:
        correction = store.corrections.get(correction_id)
        if correction.status != "accepted":
            raise Outdated(f"correction {correction_id} is {correction.status} by now; another run is needed")
        return corrected_example(correction, store.responses.get(correction.response_id), blobs)

    return Frozen(
        train=[corrected(correction_id) for correction_id in manifest["train"]],
        held_out=[corrected(correction_id) for correction_id in manifest["held_out"]],
        left_out=manifest["left_out"],
        over_share=manifest["over_share"],
        general=[
            uncorrected_example(store.responses.get(response_id), blobs)
            for response_id in manifest["general"]
        ],
        last_sequence=manifest["last_sequence"],
        live=manifest["live"],
    )


def _over_share(origins: Sequence[Origin], shares: SourceShares) -> frozenset[str]:
    sources = {origin.correction_id: origin.source for origin in origins if not origin.is_reviewed}
    return over_share(sources, len(origins) - len(sources), shares)


def _general(store: Store, blobs: Blobs, train: Sequence[Example], seed: int) -> Iterator[Example]:
    """Answers of the base that nobody corrected, in a random order; none about an image that teaches."""
    taught = frozenset[str]().union(*(example.parts for example in train))
    for response_id in drawn_by_lot(store.responses.uncorrected(BASE), seed):
        example = uncorrected_example(store.responses.get(response_id), blobs)
        if taught.isdisjoint(example.parts):
            yield example
