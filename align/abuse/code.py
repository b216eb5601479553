"""Code that a correction puts into an answer: a page may show it, a person or an agent may run it."""

from __future__ import annotations

import re
import unicodedata

_CODE = re.compile(
    r"""
      ```                                              # a fence of Markdown
    | !?\[[^\]]*\]\([^)]*\)                            # its links and images
    | </?[a-z][a-z0-9-]*(?:\s[^<>]*)?/?>               # a tag of HTML or XML
    | (?<![\w.])[\w.]*\.[a-z_]\w*+\(                   # a call of a method: os.system(
    | \b(?:eval|exec|system|require|alert)\(
    | \bimport\s+(?:os|sys|subprocess|socket)\b
    | \b(?:rm\s+-\w*[rf]|curl\s+-|wget\s+-|sudo\s+\w+|bash\s+-c|powershell\s+-)
    | \b(?:drop\s+table|union\s+select)\b
    | \{\{ | \$\{ | \$\( | <\|[^|]*\|>                 # a template's, a shell's, a chat template's marks
    """,
    re.IGNORECASE | re.VERBOSE,
)


def inserted_code(served: str, corrected: str) -> list[str]:
    """What looks like code in the corrected text and is not in the served one, in order."""
    known = set(_code(served))
    return [piece for piece in _code(corrected) if piece not in known]


def _code(text: str) -> list[str]:
    return [match.group() for match in _CODE.finditer(unicodedata.normalize("NFKC", text))]
