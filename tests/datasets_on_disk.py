"""Preference datasets as other people publish them, small, as files."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from tiny_models import png

RLHF_V_SCHEMA = pa.schema(
    [
        ("ds_name", pa.string()),
        ("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
        ("text", pa.string()),
        ("origin_dataset", pa.string()),
        ("origin_split", pa.string()),
        ("idx", pa.int64()),
        ("image_path", pa.string()),
    ]
)


def rlhf_v_row(index: int, **changes: Any) -> dict[str, Any]:
    """A row as the dataset has them; `question`, `chosen` and `rejected` may be changed like a column."""
    answers = {
        "question": "What is in the picture?",
        "chosen": f"There is a green lamp and dog number {index}.",
        "rejected": f"There is a red cup and dog number {index}.",
    }
    answers |= {name: changes.pop(name) for name in list(changes) if name in answers}
    row = {
        "ds_name": "RLHF-V",
        "image": {"bytes": png(index), "path": f"{index}.png"},
        "text": json.dumps(answers),
        "origin_dataset": "OK-VQA",
        "origin_split": '{"model": "Muffin", "type": "detailed description"}',
        "idx": index,
        "image_path": f"RLHF-V/{index}.png",
    }
    return {**row, **changes}


def rlhf_v(path: Path, rows: Iterable[Mapping[str, Any]], row_group_size: int = 1000) -> Path:
    with pq.ParquetWriter(path, RLHF_V_SCHEMA) as writer:
        group: list[Mapping[str, Any]] = []
        for row in rows:
            group.append(row)
            if len(group) == row_group_size:
                writer.write_table(pa.Table.from_pylist(group, RLHF_V_SCHEMA))
                group = []
        writer.write_table(pa.Table.from_pylist(group, RLHF_V_SCHEMA))
    return path


def json_lines(path: Path, rows: Sequence[Mapping[str, Any] | str]) -> Path:
    """Strings are written as they are."""
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


def human(value: str) -> dict[str, str]:
    return {"from": "human", "value": value}


def gpt(value: str) -> dict[str, str]:
    return {"from": "gpt", "value": value}
