"""Between a frozen dataclass and a row of the same field names."""

from __future__ import annotations

from dataclasses import fields
from typing import Any, TypeVar

from sqlalchemy import Row

T = TypeVar("T")


def to_row(record: Any) -> dict[str, Any]:
    return {field.name: getattr(record, field.name) for field in fields(record)}


def from_row(kind: type[T], row: Row[Any]) -> T:
    return kind(**row._mapping)
