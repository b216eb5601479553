"""What a dataset says of one answer: what was said and what should have been said, without token ids."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from pydantic import ValidationError

from ..conversation import Conversation
from ..errors import UnfitRow


@dataclass(frozen=True)
class Preference:
    """`images` maps SHA-256 to the encoded bytes, checked, of each image of the conversation.

    `origin` is what the file says about where the row comes from, as JSON values.
    """

    conversation: Conversation
    images: Mapping[str, bytes]
    rejected: str
    chosen: str
    origin: Mapping[str, Any]


class PreferenceFile(Protocol):
    """A file of preferences. Reading a row and understanding it are apart, so a bad row stops no other."""

    @property
    def path(self) -> Path: ...

    def rows(self) -> Iterator[tuple[int, Any]]:
        """Each row as it stands in the file, with its number from 1; a bounded number in memory at a time.

        Raises `InvalidDataset` where the file cannot be read as what it is said to be.
        """

    def parse(self, row: Any) -> Preference:
        """Raises `UnfitRow`, `InvalidImage`."""


@dataclass(frozen=True)
class Failure:
    """What could not be taken over, and why. `where` names a row of a file, or a correction."""

    where: str
    reason: str


def unfit(error: ValidationError) -> UnfitRow:
    """What pydantic found in a row, in one line."""
    problems = [(".".join(map(str, problem["loc"])), problem["msg"]) for problem in error.errors()]
    return UnfitRow("; ".join(f"{place}: {message}" if place else message for place, message in problems))
