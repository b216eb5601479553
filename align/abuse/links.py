"""Addresses that a correction puts into an answer: the model would send people there."""

from __future__ import annotations

import re
import unicodedata

# each run of characters is looked at from its beginning only: from everywhere, long ones would take for ever
_LINK = re.compile(
    r"""
      (?<![a-z0-9+.-])[a-z0-9+.-]++://\S+
    | \b(?:mailto|javascript|tel):\S+
    | \bwww\.\S+
    | (?<![\w.+-])[\w.+-]++@[\w-]+\.[\w.-]+            # an address of e-mail
    | (?<![a-z0-9.-])(?:[a-z0-9-]*\.)+(?:com|net|org|info|biz|io|ai|app|dev|gov|edu|xyz|top|site|online|shop|club)\b\S*
    | \b(?:\d{1,3}\.){3}\d{1,3}\b\S*
    """,
    re.IGNORECASE | re.VERBOSE,
)


def inserted_links(served: str, corrected: str) -> list[str]:
    """The links of the corrected text that the served one does not hold, in order."""
    known = set(_links(served))
    return [link for link in _links(corrected) if link not in known]


def _links(text: str) -> list[str]:
    found = _LINK.finditer(unicodedata.normalize("NFKC", text))
    return [match.group().rstrip(".,;:!?)'\"") for match in found]
