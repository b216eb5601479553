"""Every setting, from the pydantic models that check them."""

from __future__ import annotations

import inspect
import json
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import to_jsonable_python

from align.scenes import MODEL_PATH
from serve.settings import Settings

from .tables import table

INTRODUCTION = """# Settings

`errata up --config settings.json` reads them from a JSON file; a dot in a name is a section of it, so
`queue.claim_s` is `{"queue": {"claim_s": 60}}`. A name that there is not is refused. They are read once, at the start.
"""


def page() -> str:
    sections = [INTRODUCTION]
    for name, model in sections_of(Settings):
        fields = [
            (f"`{_joined(name, field)}`", _type(info.annotation), _default(info), info.description or "")
            for field, info in model.model_fields.items()
            if not is_section(info)
        ]
        title = f"## {name}" if name else "## The server"
        words = inspect.cleandoc(model.__doc__ or "")
        sections.append(f"{title}\n\n{words}\n\n" + table(("setting", "type", "default", ""), fields))
    return "\n".join(sections)


def names() -> list[str]:
    return [
        _joined(section, field)
        for section, model in sections_of(Settings)
        for field, info in model.model_fields.items()
        if not is_section(info)
    ]


def sections_of(model: type[BaseModel], name: str = "") -> Iterator[tuple[str, type[BaseModel]]]:
    yield name, model
    for field, info in model.model_fields.items():
        for one in (info.annotation, *get_args(info.annotation)):  # a section, or one that may be null
            if isinstance(one, type) and issubclass(one, BaseModel):
                yield from sections_of(one, _joined(name, field))


def is_section(info: FieldInfo) -> bool:
    return isinstance(info.annotation, type) and issubclass(info.annotation, BaseModel)


def _joined(section: str, field: str) -> str:
    return f"{section}.{field}" if section else field


def _type(annotation: Any) -> str:
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin in (Union, types.UnionType):
        return " or ".join(_type(one) for one in inner)
    if origin is Literal:
        return ", ".join(f"`{one}`" for one in inner)
    if origin in (tuple, list, frozenset, set):
        return f"list of {_type(inner[0])}"
    if origin is not None and hasattr(annotation, "__metadata__"):
        return _type(inner[0])
    words = {str: "text", int: "whole number", float: "number", bool: "true or false", Path: "path"}
    return "null" if annotation is type(None) else words.get(annotation, getattr(annotation, "__name__", "?"))


def _default(info: FieldInfo) -> str:
    if info.is_required():
        return "to be given"
    default = info.get_default(call_default_factory=True)
    if default == str(MODEL_PATH):
        return "the embedded model"
    return f"`{json.dumps(to_jsonable_python(default))}`"
