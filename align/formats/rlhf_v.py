"""RLHF-V-Dataset (arXiv 2312.00849): a parquet file with an image, and a question with two answers as JSON, a row."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, Json, ValidationError

from ..conversation import Conversation, Image, Message, Text
from ..errors import InvalidDataset
from ..images import ImageLimits, check_image
from .preference import Preference, unfit

ORIGIN = ("ds_name", "origin_dataset", "origin_split", "idx", "image_path")
ROWS_AT_ONCE = 16
READ_BYTES = 2**20
"""Read at once of a column; without it, the images of a row group lie in memory twice."""


class _Answers(BaseModel):
    question: str
    chosen: str
    rejected: str


class _Picture(BaseModel):
    bytes: bytes
    path: str | None = None


class _Row(BaseModel):
    text: Json[_Answers]
    image: _Picture


@dataclass(frozen=True)
class RlhfVFile:
    path: Path
    limits: ImageLimits

    def rows(self) -> Iterator[tuple[int, dict[str, Any]]]:
        try:
            # pre_buffer would read ahead, in the end the whole file
            with pq.ParquetFile(self.path, buffer_size=READ_BYTES, pre_buffer=False) as file:
                if missing := {"text", "image"} - set(file.schema_arrow.names):
                    raise InvalidDataset(
                        f"{self.path} is no RLHF-V-Dataset: it has no column {' and '.join(sorted(missing))}"
                    )
                columns = ["text", "image", *(name for name in ORIGIN if name in file.schema_arrow.names)]
                batches = file.iter_batches(batch_size=ROWS_AT_ONCE, columns=columns)
                yield from enumerate(chain.from_iterable(batch.to_pylist() for batch in batches), 1)
        except (OSError, pa.ArrowInvalid) as error:
            raise InvalidDataset(f"cannot read {self.path} as parquet: {error}") from error

    def parse(self, row: dict[str, Any]) -> Preference:
        try:
            parsed = _Row.model_validate(row)
        except ValidationError as error:
            raise unfit(error) from error
        image = parsed.image.bytes
        check_image(image, self.limits)
        digest = hashlib.sha256(image).hexdigest()
        question = Message("user", (Image(digest), Text(parsed.text.question)))
        return Preference(
            conversation=Conversation((question,)),
            images={digest: image},
            rejected=parsed.text.rejected,
            chosen=parsed.text.chosen,
            origin={name: row[name] for name in ORIGIN if name in row},
        )
