"""A correction's way into the store: screened, kept, and what follows from it for those that came before.

The only file here that reads and writes. What is read may be a moment old: two corrections that come at once see
each other late, and the next one of the same kind holds both back.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from hashlib import sha256

from ..conversation import Conversation
from ..state import Correction, Response, Store
from ..state.insertions import Inserted
from .config import ScreeningConfig
from .corroboration import Witness, is_corroborated
from .daily_cap import DAY_S
from .phrases import inserted_runs, phrases, says, spoken
from .repetition import Usage, repeated_phrases
from .screening import REASONS, Arrival, screen

WEAKER = tuple(REASONS)[tuple(REASONS).index("repeated_insertion") + 1 :]


@dataclass(frozen=True)
class _Repeated:
    """The phrases that its source inserts again and again, and those that all sources together do."""

    by_source: frozenset[str]
    by_all: frozenset[str]


def receive(store: Store, correction: Correction, response: Response, config: ScreeningConfig) -> Correction:
    """Store a correction that is accepted unless the rules hold it back. Raises `Conflict`, `NotFound`.

    One that shows a repeated insertion holds back the earlier ones with it; one that others' corrections agree with
    may release them. A correction that is reviewed already, or finds nothing wrong, is not screened.
    """
    inserted = _inserted(correction, response)
    if correction.is_reviewed or correction.status != "accepted":
        stored = store.corrections.add(correction, inserted)
    else:
        repeated = _repeated(store, correction, inserted, config)
        stored = store.corrections.add(_screened(store, correction, response, repeated, config), inserted)
        if repeated.by_all:
            store.reviews.hold(repeated.by_all, "repeated_insertion", WEAKER)
        if repeated.by_source:
            store.reviews.hold(repeated.by_source, "repeated_insertion", WEAKER, correction.source)
    if inserted.phrases:
        _corroborate(store, inserted.image_group)
    return stored


def _inserted(correction: Correction, response: Response) -> Inserted:
    conversation = Conversation.from_json(response.conversation)
    runs = inserted_runs(response.text, correction.corrected_text)
    return Inserted(sha256(conversation.group.encode()).hexdigest(), phrases(runs))


def _screened(
    store: Store, correction: Correction, response: Response, repeated: _Repeated, config: ScreeningConfig
) -> Correction:
    arrival = Arrival(
        served=response.text,
        corrected=correction.corrected_text,
        created=correction.created,
        earlier=store.corrections.times(correction.source, since=correction.created - DAY_S),
        repeated=repeated.by_source | repeated.by_all,
    )
    finding = screen(arrival, config)
    if finding is None:
        return correction
    return replace(
        correction, status="quarantined", reason=finding.reason, questioned=sorted(finding.questioned)
    )


def _repeated(store: Store, correction: Correction, inserted: Inserted, config: ScreeningConfig) -> _Repeated:
    """Counted with this correction, which is not stored yet."""
    if not inserted.phrases or "repeated_insertion" not in config.rules:
        return _Repeated(frozenset(), frozenset())
    insertions, window = store.insertions, config.compared_corrections
    by_source = _with_this(insertions.num_images(inserted, source=correction.source), inserted)
    by_all = _with_this(insertions.num_images(inserted, window=window), inserted)
    several = {
        phrase
        for counts in (by_source, by_all)
        for phrase, n in counts.items()
        if n >= config.repeated_images
    }
    if not several:
        return _Repeated(frozenset(), frozenset())
    usage = _usage(store, correction, several, config)
    num_of_source = insertions.num_corrections(source=correction.source) + 1
    num_of_all = insertions.num_corrections(window=window) + 1
    return _Repeated(
        repeated_phrases(_only(by_source, several), num_of_source, usage, config),
        repeated_phrases(_only(by_all, several), num_of_all, usage, config),
    )


def _with_this(num_images: Mapping[str, int], inserted: Inserted) -> dict[str, int]:
    return {phrase: num_images.get(phrase, 0) + 1 for phrase in inserted.phrases}


def _only(counts: Mapping[str, int], wanted: Collection[str]) -> dict[str, int]:
    return {phrase: number for phrase, number in counts.items() if phrase in wanted}


def _usage(
    store: Store, correction: Correction, wanted: Collection[str], config: ScreeningConfig
) -> dict[str, Usage]:
    """In the answers to those who never inserted the phrase, and in what reviewers let pass.

    An application's key that names authors stands for many people, so its answers count as others' answers.
    """
    answers = [
        (key_id, spoken(text)) for key_id, text in store.responses.recent_texts(config.compared_answers)
    ]
    sources = store.insertions.sources(wanted)
    reviewed, num_reviewed = store.insertions.num_reviewed(wanted)
    usage = {}
    for phrase in wanted:
        suspects = sources.get(phrase, set()) | {correction.source}
        others = [text for key_id, text in answers if key_id not in suspects]
        num_saying = sum(says(text, phrase) for text in others)
        usage[phrase] = Usage(num_saying + reviewed.get(phrase, 0), len(others) + num_reviewed)
    return usage


def _corroborate(store: Store, image_group: str) -> None:
    """Release what waits on these images and is corroborated now."""
    here = store.insertions.here(image_group)
    for waiting in store.reviews.waiting_on(image_group):
        elsewhere = store.insertions.elsewhere(image_group, waiting.questioned)
        witnesses = [
            Witness(key_id, frozenset(said), frozenset(elsewhere.get(key_id, ())))
            for key_id, said in here.items()
        ]
        inserted = store.insertions.of(waiting.id)
        if is_corroborated(waiting.key_id, inserted, waiting.questioned, witnesses):
            store.reviews.corroborate(waiting.id)
