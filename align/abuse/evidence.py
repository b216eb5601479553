"""What the store knows about the phrases that a correction inserts: who else inserts them, who says them anyway."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from ..state import Correction, Store
from ..state.insertions import Inserted
from .config import ScreeningConfig
from .phrases import says, spoken
from .repetition import Usage, is_insisted_on, is_widespread


@dataclass(frozen=True)
class Repeated:
    """The repeated ones among a correction's phrases."""

    widespread: frozenset[str] = frozenset()
    insisted_on: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """By phrase, the sources that inserted it more than once."""

    def of(self, source: str) -> frozenset[str]:
        """Those for which a correction of this source is held back."""
        own = {phrase for phrase, sources in self.insisted_on.items() if source in sources}
        return self.widespread | own


def repeated_phrases(
    store: Store, correction: Correction, inserted: Inserted, config: ScreeningConfig
) -> Repeated:
    """Counted with this correction, which is not stored yet, among the newest ones of all sources."""
    if not inserted.phrases or "repeated_insertion" not in config.rules:
        return Repeated()
    insertions, window, source = store.insertions, config.compared_corrections, correction.source
    elsewhere = insertions.num_images(inserted, window)
    num_images = {phrase: elsewhere.get(phrase, 0) + 1 for phrase in inserted.phrases}
    several = {phrase for phrase, number in num_images.items() if number >= config.repeated_images}
    if not several:
        return Repeated()

    by_source = {phrase: Counter({source: 1}) for phrase in several}
    for (phrase, other), number in insertions.num_images_by_source(inserted, window).items():
        if phrase in several:
            by_source[phrase][other] += number
    sources = {name for counts in by_source.values() for name in counts}
    num_corrections = Counter(insertions.num_corrections(sources, window)) + Counter({source: 1})
    total = insertions.num_corrections_in_all(window) + 1
    usage = _usage(store, {phrase: by_source[phrase].keys() for phrase in several}, config)

    insisted_on = {}
    for phrase, counts in by_source.items():
        theirs = {name: num_corrections[name] for name in counts}
        if is_insisted_on(counts, theirs, usage[phrase], config):
            insisted_on[phrase] = frozenset(name for name, number in counts.items() if number > 1)
    widespread = {p for p in several if is_widespread(num_images[p], total, usage[p], config)}
    return Repeated(frozenset(widespread), insisted_on)


def by_sources(insisted_on: Mapping[str, frozenset[str]]) -> dict[frozenset[str], set[str]]:
    """The phrases that the same sources insist on, together."""
    result: dict[frozenset[str], set[str]] = defaultdict(set)
    for phrase, sources in insisted_on.items():
        result[sources].add(phrase)
    return result


def _usage(
    store: Store, suspects: Mapping[str, Collection[str]], config: ScreeningConfig
) -> dict[str, Usage]:
    """In the answers to those who did not insert the phrase, and in what reviewers let pass.

    An application's key that names authors stands for many people: its answers count as others' answers.
    """
    answers = [
        (key_id, spoken(text)) for key_id, text in store.responses.recent_texts(config.compared_answers)
    ]
    reviewed, num_reviewed = store.insertions.num_reviewed(suspects.keys())
    usage = {}
    for phrase, sources in suspects.items():
        others = [text for key_id, text in answers if key_id not in sources]
        num_saying = sum(says(text, phrase) for text in others)
        usage[phrase] = Usage(num_saying + reviewed.get(phrase, 0), len(others) + num_reviewed)
    return usage
