"""How much of a training set may come from one source, and from the ten largest. Decided anew for every run."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from hashlib import sha256

from .config import SourceShares

NUM_TOP_SOURCES = 10


def over_share(sources: Mapping[str, str], num_reviewed: int, shares: SourceShares) -> frozenset[str]:
    """Which corrections a run leaves out, given the source of each unreviewed one by its id.

    The reviewed ones all teach: they count as part of the set, and as nobody's share. A source that has too many
    keeps those with the smallest hash of their id: the same in every run, and nothing that a sender could choose by
    when it sends them.
    """
    by_source: dict[str, list[str]] = defaultdict(list)
    for correction_id, source in sources.items():
        by_source[source].append(correction_id)
    limit = most_per_source(Counter(sources.values()).values(), num_reviewed, shares)
    return frozenset(
        correction_id for ids in by_source.values() for correction_id in sorted(ids, key=_hash)[limit:]
    )


def most_per_source(counts: Iterable[int], num_reviewed: int, shares: SourceShares) -> int:
    """The largest number each source may bring so that neither share is exceeded.

    A share is asked for only where there are twice as many sources as could just fill the set: with fewer it
    would shrink the set to what the smallest source brings. So 10 % holds from 20 sources on, 30 % from 67.
    """
    sizes = sorted(counts, reverse=True)
    limits = range(1, max(sizes, default=0) + 1)
    # a lower limit takes from the largest first, so that what is fair stays fair
    return bisect_left(limits, True, key=lambda limit: not _is_fair(sizes, limit, num_reviewed, shares))


def _is_fair(sizes: list[int], limit: int, num_reviewed: int, shares: SourceShares) -> bool:
    capped = [min(size, limit) for size in sizes]  # still the largest first
    total = sum(capped) + num_reviewed
    if len(sizes) >= 2 / shares.one and capped[0] > shares.one * total:
        return False
    is_top_limited = len(sizes) >= 2 * NUM_TOP_SOURCES / shares.top_ten
    return not (is_top_limited and sum(capped[:NUM_TOP_SOURCES]) > shares.top_ten * total)


def _hash(correction_id: str) -> bytes:
    return sha256(correction_id.encode()).digest()
