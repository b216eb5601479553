"""Every route and body, from the OpenAPI document that a server shows under /openapi.json."""

from __future__ import annotations

import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from align.state import Blobs, Store
from serve.api.app import build_app
from serve.settings import Settings

from .tables import table

INTRODUCTION = """# HTTP reference

Read from the OpenAPI document, which a running server shows under `/openapi.json` and, to try, under `/docs`. Which
scope each route asks for is in [The API](../api.md).
"""


def document() -> dict[str, Any]:
    """Of an application without an engine: it answers nothing, and knows its routes."""
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(state=Path(folder))
        store = Store(settings.database_url)
        blobs = Blobs(settings.blobs_url, cache=settings.state / "cache")
        replica: Any = SimpleNamespace(
            settings=settings,
            store=store,
            blobs=blobs,
            engine=None,
            reconciler=None,
            metrics=None,
            traces=None,
        )
        made = build_app(replica).openapi()
        store.close()
    return made


def page() -> str:
    made = document()
    routes = [
        _route(method.upper(), path, operation)
        for path, methods in made["paths"].items()
        for method, operation in methods.items()
    ]
    bodies = [_body(name, schema) for name, schema in sorted(made["components"]["schemas"].items())]
    return "\n".join([INTRODUCTION, "## Routes\n", *routes, "## Bodies\n", *bodies])


def _route(method: str, path: str, operation: dict[str, Any]) -> str:
    parts = [f"### `{method} {path}`\n", operation.get("description", ""), ""]
    if operation.get("parameters"):
        rows = [
            (f"`{one['name']}`", one["in"], _type(one["schema"]), _words(one["schema"], one.get("required")))
            for one in operation["parameters"]
        ]
        parts.append(table(("parameter", "in", "type", ""), rows))
    for media in operation.get("requestBody", {}).get("content", {}).values():
        parts.append(f"Body: {_type(media['schema'])}\n")
    statuses = [
        (status, _answer(answer), answer["description"])
        for status, answer in sorted(operation["responses"].items())
    ]
    parts.append(table(("status", "body", ""), statuses))
    return "\n".join(parts)


def _answer(answer: dict[str, Any]) -> str:
    return ", ".join(
        _type(media.get("schema", {})) if name == "application/json" else f"`{name}`"
        for name, media in answer.get("content", {}).items()
    )


def _body(name: str, schema: dict[str, Any]) -> str:
    required = set(schema.get("required", ()))
    rows = [
        (f"`{field}`", _type(one), _words(one, field in required))
        for field, one in schema.get("properties", {}).items()
    ]
    fields = table(("field", "type", ""), rows) if rows else ""
    return f"### {name}\n\n{schema.get('description', '')}\n\n{fields}"


def _type(schema: dict[str, Any]) -> str:
    if "$ref" in schema:
        name = schema["$ref"].rsplit("/", 1)[1]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in schema or "oneOf" in schema:
        return " or ".join(_type(one) for one in [*schema.get("anyOf", ()), *schema.get("oneOf", ())])
    if "enum" in schema:
        return ", ".join(f"`{one}`" for one in schema["enum"])
    if "const" in schema:
        return f"`{schema['const']}`"
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {}))}"
    return str(schema.get("type", "anything"))


def _words(schema: dict[str, Any], is_required: bool | None) -> str:
    default = schema.get("default")
    limits = {"minimum": "from", "exclusiveMinimum": "above", "maximum": "to", "exclusiveMaximum": "below"}
    words = [
        schema.get("description", ""),
        " ".join(f"{word} {schema[name]}" for name, word in limits.items() if name in schema),
        "required" if is_required else "" if default is None else f"default `{default}`",
    ]
    return "; ".join(word for word in words if word)
