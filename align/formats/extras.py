"""What an exported row says beyond its format: which correction it is, and which words were wrong."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from ..examples import Example


def extras(example: Example) -> dict[str, Any]:
    """`spans`: offsets in code points of the rejected text, [start, end), and what stands there instead."""
    return {"id": example.id, "spans": [asdict(span) for span in example.spans]}
