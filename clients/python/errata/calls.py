"""One request as a plain value: what the sync and the async client share. Knows nothing about what is asked for."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypeVar
from urllib.parse import quote

from openai import AsyncOpenAI, OpenAI, RequestOptions

T = TypeVar("T")


@dataclass(frozen=True)
class Call(Generic[T]):
    method: Literal["get", "post", "delete"]
    path: str
    answer: type[T]
    body: dict[str, Any] | None = None
    headers: dict[str, str] = field(default_factory=dict)
    is_retried: bool = True

    def send(self, client: OpenAI) -> T:
        options = self._options(client.max_retries)
        if self.method == "post":
            return client.post(self.path, cast_to=self.answer, body=self.body, options=options)
        send = client.get if self.method == "get" else client.delete
        return send(self.path, cast_to=self.answer, options=options)

    async def send_async(self, client: AsyncOpenAI) -> T:
        options = self._options(client.max_retries)
        if self.method == "post":
            return await client.post(self.path, cast_to=self.answer, body=self.body, options=options)
        send = client.get if self.method == "get" else client.delete
        return await send(self.path, cast_to=self.answer, options=options)

    def _options(self, max_retries: int) -> RequestOptions:
        return {"headers": self.headers, "max_retries": max_retries if self.is_retried else 0}


def segment(value: str, name: str) -> str:
    """An id as one segment of a path. An empty one would ask for the whole list."""
    if not value:
        raise ValueError(f"{name} is empty")
    return quote(value, safe="")
