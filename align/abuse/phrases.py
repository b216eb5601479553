"""What a correction inserts, as runs of words and as phrases that can be counted. Knows nothing of sources or rules.

White space, punctuation, case and invisible characters make no difference: they are the first that one would vary.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence

from ..word_diff import opcodes

MAX_PHRASE_WORDS = 3
"""A planted claim that is worded anew each time still names the same thing: `a purple umbrella`."""

# scripts without spaces between words: each character counts as a word
_UNSPACED = "\u0e00-\u0eff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
_WORD = re.compile(rf"[{_UNSPACED}]|[^\W{_UNSPACED}]+")


def words(text: str) -> list[str]:
    """Casefolded, in compatibility form (NFKC), without format characters such as zero-width spaces."""
    if not text.isascii():
        text = "".join(c for c in unicodedata.normalize("NFKC", text) if unicodedata.category(c) != "Cf")
    return _WORD.findall(text.casefold())


def inserted_runs(served: str, corrected: str) -> list[str]:
    """Each run of words that the corrected text has and the served one has not, in order."""
    left, right = words(served), words(corrected)
    edits = opcodes(left, right)
    return [" ".join(right[start:end]) for tag, _, _, start, end in edits if tag in ("insert", "replace")]


def phrases(runs: Iterable[str]) -> frozenset[str]:
    """Every phrase of up to `MAX_PHRASE_WORDS` words within the runs, and the runs themselves."""
    result: set[str] = set()
    for run in runs:
        result.add(run)
        result |= _phrases_within(run.split(" "))
    return frozenset(result)


def counted(piece: str) -> frozenset[str]:
    """What stands for a piece of text, a link say, among the phrases of whatever run it is inserted with."""
    found = words(piece)
    size = min(len(found), MAX_PHRASE_WORDS)
    return frozenset(" ".join(found[start : start + size]) for start in range(len(found) - size + 1))


def spoken(text: str) -> str:
    """The text as `says` reads it."""
    return f" {' '.join(words(text))} "


def says(spoken_text: str, phrase: str) -> bool:
    """Whether a text, as `spoken` gives it, holds the phrase in whole words."""
    return f" {phrase} " in spoken_text


def _phrases_within(run: Sequence[str]) -> set[str]:
    return {
        " ".join(run[start : start + size])
        for size in range(1, MAX_PHRASE_WORDS + 1)
        for start in range(len(run) - size + 1)
    }
