"""What of so many corrections gets through the defences: sent one by one to a real store that holds the right answers,
too, screened and frozen as a server does it. Knows nothing of training.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from align.abuse.config import Rule, ScreeningConfig, SourceShares
from align.abuse.quarantine import receive
from align.alignment import freeze
from align.config import AlignmentConfig
from align.state import Blobs, Correction, Response, Store
from align.state.corrections import spans_to_json

from .attack import Sent

SECONDS_APART = 600.0
RULES: tuple[Rule, ...] = get_args(Rule)


@dataclass(frozen=True)
class Defences:
    screening: ScreeningConfig
    shares: SourceShares


SHARES, NO_SHARES = SourceShares(), SourceShares(one=1.0, top_ten=1.0)


def _without(rule: Rule) -> Defences:
    return Defences(ScreeningConfig(rules=tuple(other for other in RULES if other != rule)), SHARES)


DEFENCES = {
    "all": Defences(ScreeningConfig(), SHARES),
    "none": Defences(ScreeningConfig(rules=()), NO_SHARES),
    **{f"without {rule}": _without(rule) for rule in RULES},
    "without source_shares": Defences(ScreeningConfig(), NO_SHARES),
}


def survivors(sent: Sequence[Sent], defences: Defences) -> list[str]:
    """Ids of the corrections that would teach, or judge what others teach."""
    config = AlignmentConfig(source_shares=defences.shares, max_general=0)
    with tempfile.TemporaryDirectory() as folder:
        store = Store(f"sqlite:///{folder}/errata.db")
        blobs = Blobs(f"{folder}/blobs", cache=Path(folder) / "cache")
        for index, one in enumerate(sent):
            _arrive(store, blobs, one, SECONDS_APART * (index + 1), defences.screening)
        frozen = freeze(store, blobs, config)
        store.close()
    return [example.id for side in (frozen.train, frozen.held_out) for example in side]


def _arrive(store: Store, blobs: Blobs, sent: Sent, now: float, config: ScreeningConfig) -> None:
    example = sent.example
    for data in example.images.values():
        blobs.put_image(data)
    response = Response(
        id=f"response-{example.id}",
        created=now,
        model="scenes",
        adapter="base",
        conversation=example.conversation.to_json(),
        sampling={},
        text=example.served_text,
        token_ids=list(example.served_token_ids),
        finish_reason="stop",
        num_prompt_tokens=0,
        timings={},
        key_id=sent.source,
    )
    store.responses.add(response)
    if not sent.is_correction:
        return
    correction = Correction(
        id=example.id,
        created=now,
        status="accepted",
        response_id=response.id,
        corrected_text=example.corrected_text,
        spans=spans_to_json(example.spans),
        author=None,
        key_id=sent.source,
        idempotency_key=None,
        body_sha256="",
        source=sent.source,
    )
    receive(store, correction, response, config)
