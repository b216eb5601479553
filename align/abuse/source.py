"""Who a correction counts as coming from."""

from __future__ import annotations

from ..state.keys import Key


def source_of(key: Key, author: str | None) -> str:
    """The key, and the author it names only where the key is trusted to name authors.

    An author is a word in the request: from anyone else, one person could be as many sources as they like.
    """
    if author is not None and key.allows("authors"):
        return f"{key.id}/{author}"
    return key.id
