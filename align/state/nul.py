"""The character NUL, which a text may hold and PostgreSQL cannot: kept there as an escape, and given back as it was.

U+001A, "substitute", is the escape: U+001A `0` is NUL, U+001A `1` is U+001A itself.
"""

from __future__ import annotations

import json
import re
from typing import Any

from sqlalchemy import Dialect, String, TypeDecorator

# Each escape of a JSON document in turn, so that a backslash before `u0000` is told from an escape.
MEANT = re.compile(r"\\(u0000|u001a|.)")
STORED = re.compile(r"\\(u001a[01]|.)")

TO_STORED = {r"\u0000": r"\u001a0", r"\u001a": r"\u001a1"}
FROM_STORED = {stored: meant for meant, stored in TO_STORED.items()}


class NulSafe(TypeDecorator[str]):
    """A text in PostgreSQL. Comparisons escape what they compare with, so equality is as it was."""

    impl = String
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        if value is None or ("\0" not in value and "\x1a" not in value):
            return value
        return value.replace("\x1a", "\x1a1").replace("\0", "\x1a0")

    def process_result_value(self, value: str | None, dialect: Dialect) -> str | None:
        if value is None or "\x1a" not in value:
            return value
        return value.replace("\x1a0", "\0").replace("\x1a1", "\x1a")


def to_json(value: Any) -> str:
    document = json.dumps(value)
    if r"\u0000" not in document and r"\u001a" not in document:
        return document
    return MEANT.sub(lambda found: TO_STORED.get(found[0], found[0]), document)


def from_json(stored: str | bytes) -> Any:
    document = stored if isinstance(stored, str) else stored.decode()
    if r"\u001a" in document:
        document = STORED.sub(lambda found: FROM_STORED.get(found[0], found[0]), document)
    return json.loads(document)
