"""Files in LLaVA's style: one JSON object a line, `<image>` in the text where a picture stands, pictures as files.

A row says what is wrong and what is right in one of three ways that such datasets have:
`conversations` that end with the question, `chosen` and `rejected`; `prompt`, `chosen` and `rejected`;
or `conversations` that end with the right answer and `rejected_conversations` with the wrong one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, ValidationError

from ..conversation import Conversation, Image, Message, Role, Text
from ..errors import InvalidDataset, UnfitRow
from ..images import ImageLimits, check_image
from .preference import Preference, unfit

MARKER = "<image>"
ROLES: dict[str, Role] = {"human": "user", "gpt": "assistant", "system": "system"}


class _Turn(BaseModel):
    speaker: Literal["human", "gpt", "system"] = Field(alias="from")
    value: str


class _Row(BaseModel):
    # such files carry columns of all kinds, so unknown ones are no typing errors
    model_config = ConfigDict(extra="ignore")

    id: str | int | None = None
    image: str | list[str] | None = Field(default=None, validation_alias=AliasChoices("image", "images"))
    prompt: str | None = None
    conversations: list[_Turn] | None = None
    rejected_conversations: list[_Turn] | None = None
    chosen: str | _Turn | None = None
    rejected: str | _Turn | None = None


@dataclass(frozen=True)
class LlavaFile:
    path: Path
    images: Path
    """Folder that the rows' image paths start from."""
    limits: ImageLimits

    def rows(self) -> Iterator[tuple[int, bytes]]:
        try:
            with self.path.open("rb") as file:
                for number, line in enumerate(file, 1):
                    if number == 1 and line.lstrip().startswith(b"["):
                        raise InvalidDataset(
                            f"{self.path} is one JSON array; write one object a line, as `jq -c '.[]'` does"
                        )
                    if line.strip():
                        yield number, line
        except OSError as error:
            raise InvalidDataset(f"cannot read {self.path}: {error.strerror}") from error

    def parse(self, row: bytes) -> Preference:
        try:
            parsed = _Row.model_validate_json(row)
        except ValidationError as error:
            raise unfit(error) from error
        turns, chosen, rejected = _sides(parsed)
        names = [parsed.image] if isinstance(parsed.image, str) else parsed.image or []
        if len(names) > self.limits.max_per_request:
            raise UnfitRow(
                f"{len(names)} images are more than the {self.limits.max_per_request} of one request"
            )
        encoded = [self._read_image(name) for name in names]
        digests = [hashlib.sha256(data).hexdigest() for data in encoded]
        return Preference(
            conversation=Conversation(_messages(turns, digests)),
            images=dict(zip(digests, encoded, strict=True)),
            rejected=rejected,
            chosen=chosen,
            origin={"id": parsed.id, "images": names},
        )

    def _read_image(self, name: str) -> bytes:
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts:
            raise UnfitRow(f"image path {name!r} leaves the folder of images; write it relative to that")
        file = self.images / path
        try:
            if file.stat().st_size > self.limits.max_bytes:
                raise UnfitRow(f"image {name!r} is larger than {self.limits.max_bytes} bytes")
            data = file.read_bytes()
        except OSError as error:
            raise UnfitRow(f"image {file} cannot be read: {error.strerror}") from error
        check_image(data, self.limits)
        return data


def _sides(row: _Row) -> tuple[Sequence[_Turn], str, str]:
    """(what was asked, the right answer, the wrong one)."""
    if row.rejected_conversations is not None:
        if not row.conversations or not row.rejected_conversations:
            raise UnfitRow("conversations and rejected_conversations must both end with an answer")
        if row.conversations[:-1] != row.rejected_conversations[:-1]:
            raise UnfitRow("conversations and rejected_conversations differ before their last turn")
        return row.conversations[:-1], _answer(row.conversations[-1]), _answer(row.rejected_conversations[-1])
    if row.chosen is None or row.rejected is None:
        raise UnfitRow("it must have `chosen` and `rejected`, or `rejected_conversations`")
    if row.conversations is not None:
        return row.conversations, _answer(row.chosen), _answer(row.rejected)
    if row.prompt is not None:
        asked = _Turn.model_validate({"from": "human", "value": row.prompt})
        return [asked], _answer(row.chosen), _answer(row.rejected)
    raise UnfitRow("neither `conversations` nor `prompt` says what was asked")


def _answer(side: str | _Turn) -> str:
    if isinstance(side, _Turn) and side.speaker != "gpt":
        raise UnfitRow(f"an answer is by {side.speaker!r}, not by 'gpt'")
    text = side.value if isinstance(side, _Turn) else side
    if MARKER in text:
        raise UnfitRow(f"{MARKER} stands in an answer, where there can be no picture")
    return text


def _messages(turns: Sequence[_Turn], digests: Sequence[str]) -> tuple[Message, ...]:
    """The turns with a picture in place of each marker; without any marker they come before the first question."""
    if not turns or turns[-1].speaker != "human":
        raise UnfitRow("what was asked must end with a turn by 'human'")
    num_markers = sum(turn.value.count(MARKER) for turn in turns)
    if num_markers not in (0, len(digests)):
        raise UnfitRow(f"there are {num_markers} {MARKER} markers for {len(digests)} images")
    images = iter([Image(digest) for digest in digests])
    messages = []
    for turn in turns:
        first: list[Text | Image] = list(images) if num_markers == 0 and turn.speaker == "human" else []
        messages.append(Message(ROLES[turn.speaker], (*first, *_parts(turn.value, images))))
    return tuple(messages)


def _parts(value: str, images: Iterator[Image]) -> Iterator[Text | Image]:
    """A line break between a marker and the words is the marker's, as LLaVA's own files write it."""
    pieces = value.split(MARKER)
    for index, piece in enumerate(pieces):
        if index > 0:
            yield next(images)
            piece = piece.removeprefix("\n")
        if index + 1 < len(pieces):
            piece = piece.removesuffix("\n")
        if piece:
            yield Text(piece)
