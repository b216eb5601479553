"""An answer from request to record: begun, followed token by token, on disk before its last one is told.

Knows nothing of how it is sent to the client.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Mapping
from dataclasses import asdict, dataclass, field

import structlog
from starlette.concurrency import run_in_threadpool

from align.conversation import Conversation
from align.errors import InvalidConversation, InvalidImage
from align.state import Key, Response
from serve.engine.protocol import Delta, Prompt, Sampling, TokenLogprobs
from serve.errors import DeadlineExceeded, EngineFailed, InvalidPrompt
from serve.metrics import Stopwatch
from serve.replica import Replica
from serve.rollout import choose_version

from .conversations import read_conversation
from .remote_images import RemoteImageFetcher
from .schema import ChatRequest

log = structlog.get_logger()

LAST_WORDS_S = 10.0
"""How long a cancelled sequence's end is waited for; the engine ends it at its next step."""


@dataclass
class Answer:
    """One answer under way: what it is answered from, and what has come of it so far."""

    id: str
    adapter: str
    key: Key
    conversation: Conversation
    images: Mapping[str, bytes]
    sampling: Sampling
    num_prompt_tokens: int
    deltas: asyncio.Queue[Delta]
    sequence_id: str = ""
    created: float = field(default_factory=time.time)
    watch: Stopwatch = field(default_factory=Stopwatch)
    token_ids: list[int] = field(default_factory=list)
    pieces: list[str] = field(default_factory=list)
    logprobs: list[TokenLogprobs] = field(default_factory=list)
    finish_reason: str | None = None
    first_token_s: float | None = None

    @property
    def text(self) -> str:
        return "".join(self.pieces)

    @property
    def headers(self) -> dict[str, str]:
        return {"x-errata-response-id": self.id, "x-errata-adapter": self.adapter}

    @property
    def usage(self) -> dict[str, int]:
        return {
            "prompt_tokens": self.num_prompt_tokens,
            "completion_tokens": len(self.token_ids),
            "total_tokens": self.num_prompt_tokens + len(self.token_ids),
        }

    def take(self, delta: Delta) -> None:
        if delta.token_ids and self.first_token_s is None:
            self.first_token_s = self.watch.read()
        self.token_ids += delta.token_ids
        self.pieces.append(delta.text)
        self.logprobs += delta.logprobs
        self.finish_reason = delta.finish_reason


class Answers:
    def __init__(self, replica: Replica) -> None:
        self._replica = replica
        settings = replica.settings
        self._fetcher = RemoteImageFetcher(
            settings.remote_images, settings.images, max_total_bytes=settings.max_body_bytes
        )
        self._endings: set[asyncio.Task[None]] = set()  # asyncio itself keeps no task alive

    async def begin(self, body: ChatRequest, key: Key) -> Answer:
        """Read, choose the version, submit."""
        watch = Stopwatch()
        settings, engine, reconciler = self._replica.settings, self._replica.engine, self._replica.reconciler
        conversation, images = await read_conversation(body.messages, settings.images, self._fetcher)
        try:
            prompt = await run_in_threadpool(engine.prepare, conversation, images)
        except (InvalidConversation, InvalidImage) as error:
            raise InvalidPrompt(str(error)) from error
        sampling = self._sampling(body, prompt)
        response_id = f"chatcmpl-{uuid.uuid4().hex}"
        while (in_force := reconciler.certainly_in_force()) is None:
            await run_in_threadpool(reconciler.refresh)
        # from here to `submit` nothing is awaited, so that it is still in force
        adapter = choose_version(
            in_force, response_id, body.model, settings.model_name, engine.stats().adapters
        )
        answer = Answer(
            response_id,
            adapter,
            key,
            conversation,
            images,
            sampling,
            prompt.num_tokens,
            deltas=asyncio.Queue(),
            watch=watch,
        )
        loop = asyncio.get_running_loop()

        def deliver(delta: Delta) -> None:
            loop.call_soon_threadsafe(answer.deltas.put_nowait, delta)

        answer.sequence_id = engine.submit(prompt, sampling, adapter, deliver)
        return answer

    def _sampling(self, body: ChatRequest, prompt: Prompt) -> Sampling:
        asked = body.max_completion_tokens or body.max_tokens
        room = self._replica.engine.max_model_len - prompt.num_tokens
        if room < 1:
            raise InvalidPrompt(
                f"the prompt has {prompt.num_tokens} tokens, prompt and answer together may have "
                f"{self._replica.engine.max_model_len}; shorten the conversation"
            )
        return Sampling(
            max_tokens=asked or min(self._replica.settings.default_max_tokens, room),
            temperature=body.temperature,
            top_p=body.top_p,
            seed=body.seed,
            stop=body.stop_strings,
            top_k=body.top_k,
            min_p=body.min_p,
            presence_penalty=body.presence_penalty,
            frequency_penalty=body.frequency_penalty,
            logit_bias={int(token_id): bias for token_id, bias in body.logit_bias.items()},
            top_logprobs=body.top_logprobs or 0 if body.logprobs else None,
        )

    async def follow(self, answer: Answer) -> AsyncIterator[Delta]:
        """Its deltas as they come; the last one only when the record is on disk.

        Raises `DeadlineExceeded`, `EngineFailed`.
        """
        deadline = self._replica.settings.request_deadline_s
        while answer.finish_reason is None:
            try:
                delta = await asyncio.wait_for(answer.deltas.get(), deadline - answer.watch.read())
            except TimeoutError as error:
                raise DeadlineExceeded(f"the answer took longer than {deadline:g} s") from error
            answer.take(delta)
            if delta.finish_reason == "error":
                raise EngineFailed(delta.error or "the sequence failed")
            if delta.finish_reason is not None:
                await run_in_threadpool(self._record, answer)
            yield delta

    def leave(self, answer: Answer) -> None:
        """Cancel it unless it has ended; what it said until now is recorded, for it may have been read."""
        if answer.finish_reason is None:
            self._replica.engine.cancel(answer.sequence_id)
            ending = asyncio.get_running_loop().create_task(self._record_cancelled(answer))
            self._endings.add(ending)
            ending.add_done_callback(self._endings.discard)

    async def _record_cancelled(self, answer: Answer) -> None:
        try:
            async with asyncio.timeout(LAST_WORDS_S):
                while answer.finish_reason is None:
                    answer.take(await answer.deltas.get())
            if answer.token_ids and answer.finish_reason != "error":
                await run_in_threadpool(self._record, answer)
        except Exception:  # the task's outermost loop: nobody waits for its result
            log.exception("cancelled answer not recorded", response=answer.id)

    def _record(self, answer: Answer) -> None:
        def put_images() -> None:
            for data in answer.images.values():
                self._replica.blobs.put_image(data)

        put_images()
        timings = {"first_token_s": answer.first_token_s or 0.0, "total_s": answer.watch.read()}
        self._replica.store.responses.add(
            Response(
                id=answer.id,
                created=answer.created,
                model=self._replica.settings.model_name,
                adapter=answer.adapter,
                conversation=answer.conversation.to_json(),
                sampling=asdict(answer.sampling),
                text=answer.text,
                token_ids=answer.token_ids,
                finish_reason=answer.finish_reason or "",
                num_prompt_tokens=answer.num_prompt_tokens,
                timings=timings,
                key_id=answer.key.id,
            ),
            put_images,
        )
        metrics = self._replica.metrics
        metrics.responses.labels(answer.adapter, answer.finish_reason).inc()
        metrics.generated_tokens.labels(answer.adapter).inc(len(answer.token_ids))
        metrics.first_token_seconds.labels(answer.adapter).observe(timings["first_token_s"])
