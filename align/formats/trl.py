"""TRL's preference files: one parquet file with the pictures inside, which `load_dataset` gives back as pictures.

TRL decides by the first row's columns whether a dataset has pictures. So a file has the column `images` for all of
its rows, empty where a row has none, or for none.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ..conversation import Message, Text
from ..examples import Example
from .extras import extras
from .marked import IMAGE, check_no_marker

ROWS_AT_ONCE = 256
BYTES_AT_ONCE = 2**23
"""Rows wait for their row group until there are so many, or their pictures are so large."""


class TrlFile:
    def __init__(self, folder: Path, has_images: bool) -> None:
        self._has_images = has_images
        self._schema = trl_schema(has_images)
        # a dictionary of pictures would be kept in memory, for nothing: hardly one is there twice
        self._writer = pq.ParquetWriter(folder / "train.parquet", self._schema, use_dictionary=False)
        self._rows: list[dict[str, Any]] = []
        self._num_bytes = 0

    def write(self, example: Example) -> None:
        """Raises `UnfitRow`."""
        self._rows.append({**trl_row(example, self._has_images), **extras(example)})
        self._num_bytes += sum(len(data) for data in example.images.values())
        if len(self._rows) >= ROWS_AT_ONCE or self._num_bytes >= BYTES_AT_ONCE:
            self._flush()

    def close(self) -> None:
        self._flush()
        self._writer.close()

    def _flush(self) -> None:
        if self._rows:
            self._writer.write_table(pa.Table.from_pylist(self._rows, self._schema))
        self._rows, self._num_bytes = [], 0


def trl_row(example: Example, has_images: bool) -> dict[str, Any]:
    """Raises `UnfitRow` on a text that most processors would take for a picture."""
    check_no_marker(example, (IMAGE,))
    row: dict[str, Any] = {
        "prompt": [_message(message, has_images) for message in example.conversation.messages],
        "chosen": [_message(_answer(example.corrected_text), has_images)],
        "rejected": [_message(_answer(example.served_text), has_images)],
    }
    if has_images:
        row["images"] = [
            {"bytes": example.images[digest], "path": None} for digest in example.conversation.image_ids
        ]
    return row


def trl_schema(has_images: bool) -> pa.Schema:
    """With what `datasets` needs to know that the column `images` holds pictures."""
    part = pa.struct([("type", pa.string()), ("text", pa.string())])
    content = pa.list_(part) if has_images else pa.string()
    messages = pa.list_(pa.struct([("role", pa.string()), ("content", content)]))
    span = pa.struct(
        [("start", pa.int64()), ("end", pa.int64()), ("replacement", pa.string()), ("kind", pa.string())]
    )
    columns = {"prompt": messages, "chosen": messages, "rejected": messages}
    if has_images:
        columns["images"] = pa.list_(pa.struct([("bytes", pa.binary()), ("path", pa.string())]))
    columns |= {"id": pa.string(), "spans": pa.list_(span)}
    features = {name: _feature(kind) for name, kind in columns.items()}
    if has_images:
        features["images"] = [{"_type": "Image"}]
    return pa.schema(columns, metadata={"huggingface": json.dumps({"info": {"features": features}})})


def _feature(kind: pa.DataType) -> Any:
    """The type as `datasets` writes it into a file."""
    if pa.types.is_list(kind):
        return [_feature(kind.value_type)]
    if pa.types.is_struct(kind):
        return {field.name: _feature(field.type) for field in kind}
    return {"dtype": str(kind), "_type": "Value"}


def _message(message: Message, has_images: bool) -> dict[str, Any]:
    if not has_images:
        return {
            "role": message.role,
            "content": "".join(p.text for p in message.parts if isinstance(p, Text)),
        }
    content = [
        {"type": "text", "text": part.text} if isinstance(part, Text) else {"type": "image", "text": None}
        for part in message.parts
    ]
    return {"role": message.role, "content": content}


def _answer(text: str) -> Message:
    return Message("assistant", (Text(text),))
