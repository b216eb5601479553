"""The sentence forms that captions are written in and texts are read by. Knows nothing about scenes.

One list serves both ways, so that what the caption generator can say the parser can read. A sentence is a theme
sentence, a total sentence, or clauses joined by connectors; a clause names one kind of object.
"""

from __future__ import annotations

import re

from .lexicon import COLOURS, KIND_OF_NOUN, NUMBERS, PLACES, THEMES

THEME_FORMS = (
    "This is a {theme} scene.",
    "The picture shows a {theme} scene.",
    "Here is a small {theme} scene.",
    "We are looking at a {theme} scene.",
    "This drawing shows a {theme} scene.",
)

TOTAL_FORMS = (
    "In total there are {total} objects.",
    "There are {total} objects in total.",
    "Altogether I count {total} objects.",
    "That makes {total} objects in all.",
    "Counting everything, there are {total} objects.",
)

# Forms that open a sentence, and forms that also go on after a connector.
OPENING_CLAUSES = (
    "there {be} {np} {place}",
    "{np} {be} {place}",
    "{np} can be seen {place}",
    "{np} {appear} {place}",
    "{place} there {be} {np}",
    "{place} you can see {np}",
    "{place} I see {np}",
    "I can see {np} {place}",
    "you can see {np} {place}",
    "we find {np} {place}",
    "{place} {be} {np}",
)
CONTINUING_CLAUSES = (
    "{np} {place}",
    "{np} {be} {place}",
    "there {be} {np} {place}",
    "{place} there {be} {np}",
    "{place} you can see {np}",
)
LATER_CLAUSES = (
    "there {be} also {np} {place}",
    "I also see {np} {place}",
    "we also find {np} {place}",
)
# Read where people write them; never generated.
READ_ONLY_CLAUSES = (
    "there {be} {np}",
    "I see {np}",
    "I see {np} {place}",
    "I can see {np}",
    "you can see {np}",
    "the picture shows {np}",
    "the image shows {np}",
    "the picture shows {np} {place}",
    "the image shows {np} {place}",
    "{np}",
)
CONNECTORS = (" and ", ", and ", ", while ")

_WORDS: dict[str, str] = {
    "be": r"(?P<be>is|are)",
    "appear": r"(?P<be>appears?)",
    "place": rf"(?P<place>{'|'.join(sorted(PLACES, key=len, reverse=True))}),?",
    "np": (
        rf"(?P<np>(?:(?P<number>a pair of|an?|the|{'|'.join(NUMBERS[1:])}) )?"
        rf"(?:(?P<colour>{'|'.join(COLOURS)}) )?(?P<noun>{'|'.join(sorted(KIND_OF_NOUN, key=len, reverse=True))}))"
    ),
    "theme": rf"(?P<theme>{'|'.join(THEMES)})",
    "total": rf"(?P<total>{'|'.join(NUMBERS)}|\d+)",
}

SINGULAR_VERBS = {"is": "are", "appears": "appear"}
PLURAL_VERBS = {plural: singular for singular, plural in SINGULAR_VERBS.items()}


def _compiled(form: str) -> re.Pattern[str]:
    return re.compile(form.rstrip(".").format(**_WORDS), re.IGNORECASE)


THEME_PATTERNS = tuple(_compiled(form) for form in THEME_FORMS)
TOTAL_PATTERNS = tuple(_compiled(form) for form in TOTAL_FORMS)
CLAUSE_PATTERNS = tuple(
    _compiled(form)
    for form in dict.fromkeys(OPENING_CLAUSES + CONTINUING_CLAUSES + LATER_CLAUSES + READ_ONLY_CLAUSES)
)
SENTENCE_PATTERN = re.compile(r"[^\s.!][^.!]*[.!]*")
CONNECTOR_PATTERN = re.compile(
    rf",? and |, while |; |, (?=(?:an?|the|{'|'.join(NUMBERS[1:])}) )", re.IGNORECASE
)


def verb(slot: str, count: int) -> str:
    singular = {"be": "is", "appear": "appears"}[slot]
    return singular if count == 1 else SINGULAR_VERBS[singular]


def capitalised(text: str) -> str:
    return text[:1].upper() + text[1:]
