"""An answer as it is written: iterate over its texts, then take the reply."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Generator, Iterator
from dataclasses import dataclass, field
from typing import TypeVar

from openai import AsyncStream, Stream
from openai.types.chat import ChatCompletionChunk
from typing_extensions import Self

from .errors import ReplyIncomplete
from .feedback import AsyncFeedback, Feedback
from .reply import AsyncReply, Reply, Served

R = TypeVar("R")


@dataclass
class Draft:
    """What has come of an answer so far."""

    response_id: str = ""
    adapter: str = "base"
    finish_reason: str | None = None
    feedback_token: str | None = None
    pieces: list[str] = field(default_factory=list)

    def take(self, chunk: ChatCompletionChunk) -> str:
        """The text that the chunk adds; often none."""
        self.response_id = chunk.id or self.response_id
        self.adapter = chunk.system_fingerprint or self.adapter
        text = ""
        for choice in chunk.choices or []:
            text += choice.delta.content or ""
            self.finish_reason = choice.finish_reason or self.finish_reason
            self.feedback_token = (choice.model_extra or {}).get("feedback_token") or self.feedback_token
        self.pieces.append(text)
        return text

    @property
    def served(self) -> Served:
        """Raises `ReplyIncomplete`: half an answer has no record on the server, so it cannot be corrected."""
        if self.finish_reason is None:
            raise ReplyIncomplete("the stream broke off before the answer was finished; ask again")
        return Served(
            "".join(self.pieces), self.response_id, self.adapter, self.finish_reason, self.feedback_token
        )


class ReplyStream:
    """Iterate once. As a context manager it hangs up where the caller leaves early."""

    def __init__(self, begin: Callable[[], Stream[ChatCompletionChunk]], feedback: Feedback) -> None:
        self._begin = begin
        self._feedback = feedback
        self._reply: Reply | None = None
        self._texts = self._read()

    def _read(self) -> Generator[str, None, None]:
        draft = Draft()
        with self._begin() as chunks:
            for chunk in chunks:
                if text := draft.take(chunk):
                    yield text
        self._reply = Reply.of(draft.served, self._feedback)

    @property
    def reply(self) -> Reply:
        """Raises `ReplyIncomplete` before the stream has been read to its end."""
        return whole(self._reply)

    def __iter__(self) -> Iterator[str]:
        return self._texts

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._texts.close()


class AsyncReplyStream:
    """As `ReplyStream`, with `async for` and `async with`."""

    def __init__(
        self, begin: Callable[[], Awaitable[AsyncStream[ChatCompletionChunk]]], feedback: AsyncFeedback
    ) -> None:
        self._begin = begin
        self._feedback = feedback
        self._reply: AsyncReply | None = None
        self._texts = self._read()

    async def _read(self) -> AsyncGenerator[str, None]:
        draft = Draft()
        async with await self._begin() as chunks:
            async for chunk in chunks:
                if text := draft.take(chunk):
                    yield text
        self._reply = AsyncReply.of(draft.served, self._feedback)

    @property
    def reply(self) -> AsyncReply:
        """Raises `ReplyIncomplete` before the stream has been read to its end."""
        return whole(self._reply)

    def __aiter__(self) -> AsyncIterator[str]:
        return self._texts

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._texts.aclose()


def whole(reply: R | None) -> R:
    if reply is None:
        raise ReplyIncomplete("the reply is there when the stream has been read to its end")
    return reply
