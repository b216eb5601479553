"""What SQLite and PostgreSQL say in different words, as one expression each."""

from __future__ import annotations

from typing import Any

from sqlalchemy import JSON, Column, ColumnElement, Float, Integer, TableValuedAlias
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import GenericFunction


class whole(GenericFunction[int]):  # noqa: N801  # read as a function of SQL
    """A number of at least 0 without its fraction."""

    type = Integer()
    inherit_cache = True


class clock(GenericFunction[float]):  # noqa: N801
    """The database's own, in seconds since the epoch: of this moment, and not of the transaction's start."""

    type = Float()
    inherit_cache = True


class _elements(GenericFunction[Any]):  # noqa: N801
    inherit_cache = True


def elements_of(column: ColumnElement[Any]) -> TableValuedAlias:
    """The elements of a JSON array, one a row, in the column `value`."""
    return _elements(column).table_valued(Column("value", JSON))


@compiles(whole, "sqlite")
def _cast(element: whole, compiler: Any, **kw: Any) -> str:
    return f"CAST({compiler.process(element.clauses, **kw)} AS INTEGER)"


@compiles(whole, "postgresql")
def _floor(element: whole, compiler: Any, **kw: Any) -> str:
    return f"CAST(floor({compiler.process(element.clauses, **kw)}) AS INTEGER)"  # CAST alone rounds


@compiles(clock, "sqlite")
def _julianday(_element: clock, _compiler: Any, **_: Any) -> str:
    return "((julianday('now') - 2440587.5) * 86400.0)"


@compiles(clock, "postgresql")
def _clock_timestamp(_element: clock, _compiler: Any, **_: Any) -> str:
    return "CAST(extract(epoch FROM clock_timestamp()) AS FLOAT)"


@compiles(_elements, "sqlite")
def _json_each(element: _elements, compiler: Any, **kw: Any) -> str:
    return f"json_each({compiler.process(element.clauses, **kw)})"


@compiles(_elements, "postgresql")
def _json_array_elements(element: _elements, compiler: Any, **kw: Any) -> str:
    return f"json_array_elements({compiler.process(element.clauses, **kw)})"
