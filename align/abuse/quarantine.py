"""A correction's way into the store: screened, kept, and what follows from it for those that came before.

The only file here that writes. What is read before may be a moment old: two corrections that come at once see
each other late, and the next one of the same kind holds both back.
"""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256

from ..conversation import Conversation
from ..state import Correction, Response, Store
from ..state.insertions import Inserted
from .config import ScreeningConfig
from .corroboration import Witness, is_corroborated
from .daily_cap import DAY_S
from .evidence import Repeated, by_sources, repeated_phrases
from .phrases import counted, inserted_runs, phrases
from .screening import REASONS, Arrival, screen

WEAKER = tuple(REASONS)[tuple(REASONS).index("repeated_insertion") + 1 :]


def receive(store: Store, correction: Correction, response: Response, config: ScreeningConfig) -> Correction:
    """Store a correction that is accepted unless the rules hold it back. Raises `Conflict`, `NotFound`.

    One that shows a repeated insertion holds back the earlier ones with it; one that others' corrections agree with
    may release them. A correction that is reviewed already, or finds nothing wrong, is not screened.
    """
    inserted = _inserted(correction, response)
    if correction.is_reviewed or correction.status != "accepted":
        stored = store.corrections.add(correction, inserted)
    else:
        repeated = repeated_phrases(store, correction, inserted, config)
        screened = _screened(store, correction, response, repeated.of(correction.source), config)
        stored = store.corrections.add(screened, inserted)
        _hold_earlier(store, repeated)
    if inserted.phrases:
        _corroborate(store, inserted.image_group)
    return stored


def foresee(store: Store, correction: Correction, response: Response, config: ScreeningConfig) -> Correction:
    """As `receive` would store it now, and raise; nothing is written."""
    stored = store.corrections.earlier(correction)
    if stored is not None:
        return stored
    if correction.is_reviewed or correction.status != "accepted":
        return correction
    repeated = repeated_phrases(store, correction, _inserted(correction, response), config)
    return _screened(store, correction, response, repeated.of(correction.source), config)


def _inserted(correction: Correction, response: Response) -> Inserted:
    conversation = Conversation.from_json(response.conversation)
    runs = inserted_runs(response.text, correction.corrected_text)
    return Inserted(sha256(conversation.group.encode()).hexdigest(), phrases(runs))


def _screened(
    store: Store,
    correction: Correction,
    response: Response,
    repeated: frozenset[str],
    config: ScreeningConfig,
) -> Correction:
    arrival = Arrival(
        served=response.text,
        corrected=correction.corrected_text,
        created=correction.created,
        earlier=store.corrections.times(correction.source, since=correction.created - DAY_S),
        repeated=repeated,
    )
    finding = screen(arrival, config)
    if finding is None:
        return correction
    return replace(
        correction, status="quarantined", reason=finding.reason, questioned=sorted(finding.questioned)
    )


def _hold_earlier(store: Store, repeated: Repeated) -> None:
    if repeated.widespread:
        store.reviews.hold(repeated.widespread, "repeated_insertion", WEAKER)
    for sources, phrases_of_theirs in by_sources(repeated.insisted_on).items():
        store.reviews.hold(phrases_of_theirs, "repeated_insertion", WEAKER, sources)


def _corroborate(store: Store, image_group: str) -> None:
    """Release what waits on these images and is corroborated now."""
    here = store.insertions.here(image_group)
    for waiting in store.reviews.waiting_on(image_group):
        questioned = _questioned(waiting)
        elsewhere = store.insertions.elsewhere(image_group, questioned)
        witnesses = [
            Witness(key_id, frozenset(said), frozenset(elsewhere.get(key_id, ())))
            for key_id, said in here.items()
        ]
        inserted = store.insertions.of(waiting.id)
        if is_corroborated(waiting.key_id, inserted, questioned, witnesses):
            store.reviews.corroborate(waiting.id)


def _questioned(waiting: Correction) -> frozenset[str]:
    """The phrases in question as they are counted: links and code are in no run of words as a whole."""
    if waiting.reason == "repeated_insertion":
        return frozenset(waiting.questioned)
    return frozenset().union(*map(counted, waiting.questioned))
