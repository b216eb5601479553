"""OpenAI's clients, pointed at an Errata server, with what corrections need."""

from __future__ import annotations

import os
from functools import cached_property
from typing import Any

from openai import APIStatusError, AsyncOpenAI, AsyncStream, OpenAI, Stream
from openai.types.chat import ChatCompletionChunk
from typing_extensions import Unpack

from .adapters import Adapters, AsyncAdapters
from .alignments import Alignments, AsyncAlignments
from .calls import Call
from .errors import ErrataError, ResponseErased
from .feedback import AsyncFeedback, Feedback
from .questions import Images, Options, chat_arguments
from .queue import AsyncQueue, Queue
from .reply import AsyncReply, Reply, served
from .responses import AsyncResponses, Responses
from .reviews import AsyncReviews, Reviews
from .sources import AsyncSources, Sources
from .streams import AsyncReplyStream, ReplyStream
from .types import Statistics

NO_MODEL = "the server lists no model; say which one to ask: ask(..., model=NAME)"


def connection(base_url: Any, api_key: Any) -> dict[str, Any]:
    """Where to, and as whom. Nothing that belongs to api.openai.com is sent to another server."""
    return {
        "base_url": base_url or os.environ.get("ERRATA_BASE_URL") or "http://127.0.0.1:8000/v1",
        "api_key": api_key or os.environ.get("ERRATA_API_KEY") or "none",
        "admin_api_key": "",  # else OPENAI_ADMIN_KEY would be sent in place of `api_key`
    }


def statistics(days: int) -> Call[Statistics]:
    return Call("get", f"/statistics?days={days}", Statistics)


class Errata(OpenAI):
    """`base_url` and `api_key` fall back on ERRATA_BASE_URL and ERRATA_API_KEY, and on a local server without keys.

    All other options are those of `openai.OpenAI`: timeout, max_retries, default_headers, http_client, ...
    """

    def __init__(self, *, base_url: Any = None, api_key: Any = None, **options: Any) -> None:
        super().__init__(**{**options, **connection(base_url, api_key)})

    @cached_property
    def feedback(self) -> Feedback:
        return Feedback(self)

    @cached_property
    def responses(self) -> Responses:  # type: ignore[override]  # OpenAI's are of a route that Errata has not
        return Responses(self)

    @cached_property
    def adapters(self) -> Adapters:
        return Adapters(self)

    @cached_property
    def reviews(self) -> Reviews:
        return Reviews(self)

    @cached_property
    def alignments(self) -> Alignments:
        return Alignments(self)

    @cached_property
    def queue(self) -> Queue:
        return Queue(self)

    @cached_property
    def sources(self) -> Sources:
        return Sources(self)

    def _make_status_error(self, err_msg: str, *, body: object, response: Any) -> APIStatusError:
        error = super()._make_status_error(err_msg, body=body, response=response)
        return ResponseErased.of(error) if error.status_code == 410 else error

    def ask(self, question: str, *, image: Images | None = None, **options: Unpack[Options]) -> Reply:
        """Ask about an image, or several: a path, a URL, bytes, a PIL image or an array each.

        Raises `UnsupportedImage`, and OpenAI's exceptions for what the server refuses.
        """
        arguments = chat_arguments(question, image, options, options.get("model") or self._model)
        completion = self.chat.completions.create(**arguments, stream=False)
        return Reply.of(served(completion), self.feedback)

    def stream(
        self, question: str, *, image: Images | None = None, **options: Unpack[Options]
    ) -> ReplyStream:
        """As `ask`, but gives the text as it is written; `reply` is there at the end."""

        def begin() -> Stream[ChatCompletionChunk]:
            arguments = chat_arguments(question, image, options, options.get("model") or self._model)
            chunks: Stream[ChatCompletionChunk] = self.chat.completions.create(**arguments, stream=True)
            return chunks

        return ReplyStream(begin, self.feedback)

    def statistics(self, *, days: int = 30) -> Statistics:
        """Answers and corrections of the last days, corrected answers by version, and how far the next run is."""
        return statistics(days).send(self)

    @cached_property
    def _model(self) -> str:
        for model in self.models.list():
            return model.id
        raise ErrataError(NO_MODEL)


class AsyncErrata(AsyncOpenAI):
    """As `Errata`, with coroutines."""

    _listed_model: str | None = None

    def __init__(self, *, base_url: Any = None, api_key: Any = None, **options: Any) -> None:
        super().__init__(**{**options, **connection(base_url, api_key)})

    @cached_property
    def feedback(self) -> AsyncFeedback:
        return AsyncFeedback(self)

    @cached_property
    def responses(self) -> AsyncResponses:  # type: ignore[override]  # OpenAI's are of a route that Errata has not
        return AsyncResponses(self)

    @cached_property
    def adapters(self) -> AsyncAdapters:
        return AsyncAdapters(self)

    @cached_property
    def reviews(self) -> AsyncReviews:
        return AsyncReviews(self)

    @cached_property
    def alignments(self) -> AsyncAlignments:
        return AsyncAlignments(self)

    @cached_property
    def queue(self) -> AsyncQueue:
        return AsyncQueue(self)

    @cached_property
    def sources(self) -> AsyncSources:
        return AsyncSources(self)

    def _make_status_error(self, err_msg: str, *, body: object, response: Any) -> APIStatusError:
        error = super()._make_status_error(err_msg, body=body, response=response)
        return ResponseErased.of(error) if error.status_code == 410 else error

    async def ask(
        self, question: str, *, image: Images | None = None, **options: Unpack[Options]
    ) -> AsyncReply:
        """As `Errata.ask`."""
        arguments = chat_arguments(question, image, options, options.get("model") or await self._model())
        completion = await self.chat.completions.create(**arguments, stream=False)
        return AsyncReply.of(served(completion), self.feedback)

    def stream(
        self, question: str, *, image: Images | None = None, **options: Unpack[Options]
    ) -> AsyncReplyStream:
        """As `Errata.stream`; needs no `await` itself."""

        async def begin() -> AsyncStream[ChatCompletionChunk]:
            arguments = chat_arguments(question, image, options, options.get("model") or await self._model())
            chunks: AsyncStream[ChatCompletionChunk] = await self.chat.completions.create(
                **arguments, stream=True
            )
            return chunks

        return AsyncReplyStream(begin, self.feedback)

    async def statistics(self, *, days: int = 30) -> Statistics:
        """As `Errata.statistics`."""
        return await statistics(days).send_async(self)

    async def _model(self) -> str:
        if self._listed_model is None:
            async for model in self.models.list():
                self._listed_model = model.id
                break
            else:
                raise ErrataError(NO_MODEL)
        return self._listed_model
