"""Whether two others said the same of the same picture, each of their own accord: then a correction need not wait."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

NUM_WITNESSES = 2


@dataclass(frozen=True)
class Witness:
    """What one key inserted: about the picture in question, and about all others."""

    key_id: str
    here: frozenset[str]  # phrases
    elsewhere: frozenset[str]


def is_corroborated(
    key_id: str, inserted: Collection[str], questioned: Collection[str], witnesses: Iterable[Witness]
) -> bool:
    """Whether two other keys inserted the same here, and what is in question nowhere else.

    Who inserts it elsewhere too is no witness: those who plant a claim would vouch for one another. Keys count, not
    sources: the authors that one key names are no more independent than the key.
    """
    if not inserted:
        return False
    agreeing = {
        witness.key_id
        for witness in witnesses
        if witness.key_id != key_id
        and witness.here.issuperset(inserted)
        and witness.elsewhere.isdisjoint(questioned)
    }
    return len(agreeing) >= NUM_WITNESSES
