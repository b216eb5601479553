"""What speaks against a correction, from what is known when it arrives. A pure decision; the store is elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from .burst import is_burst
from .code import inserted_code
from .config import ScreeningConfig
from .daily_cap import is_over_daily_cap
from .links import inserted_links
from .phrases import words

REASONS: Mapping[str, str] = {
    "link": "it puts an address into the answer",
    "code": "it puts code into the answer",
    "repeated_insertion": "the same words were inserted over several images, and others' answers hardly say them",
    "burst": "its source sent more corrections at once than a person makes",
    "daily_cap": "its source sent more corrections than are taken in a day",
}
"""Why a correction may be held back, by the code that it carries; the gravest first."""


@dataclass(frozen=True)
class Arrival:
    """A correction as it comes, and what is known of its source and of what it inserts."""

    served: str
    corrected: str
    created: float
    earlier: Sequence[float]  # when the source's other corrections of the last 24 hours came
    repeated: frozenset[str]  # the inserted phrases that are repeated


@dataclass(frozen=True)
class Finding:
    """Why a correction is held back. `questioned`: the phrases that raise the question, where it is about words."""

    reason: str
    questioned: frozenset[str] = frozenset()


def screen(arrival: Arrival, config: ScreeningConfig) -> Finding | None:
    """The gravest finding of those rules that are on."""
    return next((finding for finding in _findings(arrival, config) if finding.reason in config.rules), None)


def _findings(arrival: Arrival, config: ScreeningConfig) -> Iterator[Finding]:
    if links := inserted_links(arrival.served, arrival.corrected):
        yield Finding("link", _as_phrases(links))
    if code := inserted_code(arrival.served, arrival.corrected):
        yield Finding("code", _as_phrases(code))
    if arrival.repeated:
        yield Finding("repeated_insertion", arrival.repeated)
    if is_burst(arrival.earlier, arrival.created, config):
        yield Finding("burst")
    if is_over_daily_cap(arrival.earlier, arrival.created, config):
        yield Finding("daily_cap")


def _as_phrases(pieces: Sequence[str]) -> frozenset[str]:
    return frozenset(" ".join(words(piece)) for piece in pieces)
