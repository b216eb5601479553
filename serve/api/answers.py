"""Answers from request to record: begun, followed token by token, on disk before their last one is told.

Knows nothing of how they are sent to the client.
"""

from __future__ import annotations

import asyncio
import math
import time
import uuid
from collections.abc import AsyncIterator
from dataclasses import asdict, replace
from functools import partial

import structlog
from starlette.concurrency import run_in_threadpool

from align.state import Failure, Key, Response, Rollout
from serve.engine.protocol import Delta, Prompt, Sampling
from serve.errors import DeadlineExceeded, EngineFailed, EngineFull, InvalidPrompt, NotReady, ServeError
from serve.metrics import Stopwatch
from serve.replica import Replica
from serve.rollout import choose_version, is_pinned

from .auth import person_of
from .completion import Answer, Completion, response_ids
from .deltas import Inbox, Mailbox
from .feedback_token import SECRET, FeedbackClaims, sign
from .prompts import Asked, PromptReader
from .schema import ChatRequest

log = structlog.get_logger()

DOUBT_S = 10.0
"""How long a request asks which version is in force, where the store answers too slowly to be certain."""


class Answers:
    def __init__(self, replica: Replica) -> None:
        self._replica = replica
        self._prompts = PromptReader(replica.engine, replica.settings)
        self._mailbox: Mailbox | None = None
        self._endings: set[asyncio.Task[None]] = set()  # asyncio itself keeps no task alive

    async def begin(
        self, body: ChatRequest, key: Key, request_id: str, traceparent: str | None = None
    ) -> Completion:
        """Read, choose the version, submit. Raises `ServeError`, of which `NotReady` is this server's fault."""
        watch = Stopwatch()
        settings, engine = self._replica.settings, self._replica.engine
        asked = await self._read(body, settings.request_deadline_s)
        read_s = watch.read()
        sampling = self._sampling(body, asked.prompt)
        completion_id = f"chatcmpl-{uuid.uuid4().hex}"
        ids = response_ids(completion_id, body.n)
        tokens = await run_in_threadpool(self._feedback_tokens, ids, body, key) if body.feedback_token else {}
        in_force = await self._certainly_in_force(min(DOUBT_S, settings.request_deadline_s - watch.read()))
        # from here to `_submit` nothing is awaited, so that it is still in force
        adapter = choose_version(
            in_force,
            person_of(key, body.user, completion_id),
            body.model,
            settings.model_name,
            engine.stats().adapters,
        )
        completion = Completion(
            completion_id,
            adapter,
            key,
            asked.conversation,
            asked.images,
            asked.prompt.num_tokens,
            body.user,
            body.metadata,
            body.store,
            [
                Answer(index, name if body.store else None, _with_seed(sampling, index), tokens.get(name))
                for index, name in enumerate(ids)
            ],
            generation=None if is_pinned(body.model) else in_force.generation,
            inbox=Inbox(self._replica.gaps.add),
            read_s=read_s,
            traceparent=traceparent,
            request_id=request_id,
            watch=watch,
        )
        self._submit(completion, asked.prompt)
        return completion

    async def _read(self, body: ChatRequest, deadline_s: float) -> Asked:
        """Raises `EngineFull` before a prompt is read that would be refused then, and `DeadlineExceeded`."""
        stats = self._replica.engine.stats()
        num_ahead = stats.num_running + stats.num_waiting + self._prompts.num_reading
        if num_ahead >= stats.num_slots + stats.max_waiting:
            raise EngineFull(f"{num_ahead} requests are here already: ask again later.")
        try:
            async with asyncio.timeout(deadline_s):
                return await self._prompts.read(body.messages)
        except TimeoutError as error:
            raise DeadlineExceeded(f"the prompt was not read within {deadline_s:g} s") from error

    async def _certainly_in_force(self, patience_s: float) -> Rollout:
        """Raises `NotReady`."""
        reconciler, watch = self._replica.reconciler, Stopwatch()
        while (in_force := reconciler.certainly_in_force()) is None:
            if watch.read() > patience_s:
                raise NotReady(
                    "the store answers too slowly to be certain which version is in force: ask again in a moment"
                )
            await run_in_threadpool(reconciler.refresh)
        return in_force

    def _submit(self, completion: Completion, prompt: Prompt) -> None:
        """All of its answers, or none."""
        loop = asyncio.get_running_loop()
        if self._mailbox is None or self._mailbox.loop is not loop:
            self._mailbox = Mailbox(loop)
        engine = self._replica.engine
        try:
            for answer in completion.answers:
                deliver = partial(self._mailbox.post, completion.inbox, answer.index)
                answer.sequence_id = engine.submit(prompt, answer.sampling, completion.adapter, deliver)
        except ServeError:
            for answer in completion.answers:
                engine.cancel(answer.sequence_id)
            raise
        metrics = self._replica.metrics
        metrics.prompt_tokens.labels(completion.adapter).inc(completion.num_prompt_tokens)

    def _feedback_tokens(self, ids: list[str], body: ChatRequest, key: Key) -> dict[str, str]:
        """By response id."""
        secret = self._replica.store.secrets.get(SECRET)
        expires = math.ceil(time.time() + self._replica.settings.feedback_token_s)
        return {name: sign(FeedbackClaims(name, key.id, body.user, expires), secret) for name in ids}

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

    async def follow(
        self, completion: Completion, hold_s: float | None = None
    ) -> AsyncIterator[list[tuple[Answer, Delta]]]:
        """What has come, one delta an answer: first words and ends at once, else at most once in `hold_s` seconds, or
        never by itself with None. An answer's end is told only when its record is on disk.

        Raises `DeadlineExceeded`, `EngineFailed`.
        """
        deadline = self._replica.settings.request_deadline_s
        pause = Stopwatch()
        while not completion.is_ended:
            rest_s = None if hold_s is None else hold_s - pause.read()
            try:
                async with asyncio.timeout(deadline - completion.watch.read()):
                    deltas = await completion.inbox.take(rest_s)
            except TimeoutError as error:
                await run_in_threadpool(self._record_failure, completion, "deadline")
                raise DeadlineExceeded(f"the answer took longer than {deadline:g} s") from error
            news = [(completion.answers[index], delta) for index, delta in deltas]
            for answer, delta in news:  # all of them first: what broke off meanwhile would forget the others
                answer.take(delta, completion.watch.read())
            for answer, delta in news:
                if delta.finish_reason not in (None, "error"):
                    await run_in_threadpool(self._record, completion, answer)
            if failed := [delta for _, delta in news if delta.finish_reason == "error"]:
                yield [(answer, replace(delta, finish_reason=None)) for answer, delta in news]
                await run_in_threadpool(self._record_failure, completion, "engine")
                raise EngineFailed(failed[0].error or "the sequence failed")
            yield news
            pause = Stopwatch()

    def leave(self, completion: Completion) -> None:
        """Cancel what has not ended; what it said until now is recorded, for it may have been read.

        So is what ended, and whose record nobody has begun: the client left, or another's record failed, before.
        """
        if completion.is_ended and not completion.unrecorded:
            return
        for answer in completion.answers:
            self._replica.engine.cancel(answer.sequence_id)
        ending = asyncio.get_running_loop().create_task(self._record_left(completion))
        self._endings.add(ending)
        ending.add_done_callback(self._endings.discard)

    async def _record_left(self, completion: Completion) -> None:
        patience_s = self._replica.settings.engine.max_step_s  # they end at the engine's next step
        try:
            await self._record_ended(completion)
            async with asyncio.timeout(patience_s):
                while not completion.is_ended:
                    for index, delta in await completion.inbox.take():
                        completion.answers[index].take(delta, completion.watch.read())
                    await self._record_ended(completion)
        except TimeoutError:
            log.error("the end of an answer did not come after its client left", response=completion.id)
            completion.end_here()
            await self._record_ended(completion)
        except Exception:  # the task's outermost loop: nobody waits for its result
            log.exception(
                "an answer was not followed to its end after its client left", response=completion.id
            )

    async def _record_ended(self, completion: Completion) -> None:
        for answer in completion.unrecorded:
            try:
                await run_in_threadpool(self._record, completion, answer)
            except Exception:  # of one answer; the others may go through
                log.exception("answer not recorded after its client left", response=answer.response_id)

    def _record(self, completion: Completion, answer: Answer) -> None:
        if not answer.begin_record():
            return
        timings = {"first_token_s": answer.first_token_s or 0.0, "total_s": completion.watch.read()}
        metrics = self._replica.metrics
        if answer.response_id is not None:
            with metrics.record_seconds.time():
                try:
                    self._store(completion, answer, answer.response_id, timings)
                except Exception:  # of any kind, and raised on: it is only named here
                    self._trace(completion, "record")
                    raise
        metrics.responses.labels(completion.adapter, answer.finish_reason).inc()
        metrics.generated_tokens.labels(completion.adapter).inc(len(answer.token_ids))
        num_reused = answer.num_reused_tokens
        metrics.read_prompt_tokens.labels(completion.adapter, "reused").inc(num_reused)
        num_new = completion.num_prompt_tokens - num_reused
        metrics.read_prompt_tokens.labels(completion.adapter, "new").inc(num_new)
        metrics.first_token_seconds.labels(completion.adapter).observe(timings["first_token_s"])
        if (gaps := len(answer.token_ids) - 1) > 0:
            gap_s = (timings["total_s"] - timings["first_token_s"]) / gaps
            metrics.token_seconds.labels(completion.adapter).observe(gap_s)
        # a failure is traced as such, and several that ended at once when the last is recorded
        if completion.is_ended and not completion.has_failed and not completion.unrecorded:
            self._trace(completion)

    def _record_failure(self, completion: Completion, reason: str) -> None:
        """Which version failed, and nothing of what it was asked: a worse version shows by that."""
        self._replica.metrics.failed_responses.labels(completion.adapter, reason).inc()
        self._trace(completion, reason)
        self._replica.store.outcomes.add_failure(
            Failure(completion.id, time.time(), completion.adapter, completion.generation, reason)
        )

    def _trace(self, completion: Completion, error: str | None = None) -> None:
        """Once: what failed is recorded as far as it came, after that."""
        if self._replica.traces is not None and not completion.is_traced:
            from .answer_trace import trace_of

            completion.is_traced = True
            self._replica.traces.ended(trace_of(completion, self._replica.settings.model_name, error))

    def _store(
        self, completion: Completion, answer: Answer, response_id: str, timings: dict[str, float]
    ) -> None:
        def put_images() -> None:
            for data in completion.images.values():
                self._replica.blobs.put_image(data)

        put_images()
        self._replica.store.responses.add(
            Response(
                id=response_id,
                created=completion.created,
                model=self._replica.settings.model_name,
                adapter=completion.adapter,
                conversation=completion.conversation.to_json(),
                sampling=asdict(answer.sampling),
                text=answer.text,
                token_ids=answer.token_ids,
                finish_reason=answer.finish_reason or "",
                num_prompt_tokens=completion.num_prompt_tokens,
                timings=timings,
                key_id=completion.key.id,
                user=completion.user,
                metadata=dict(completion.metadata),
                generation=completion.generation,
            ),
            put_images,
        )


def _with_seed(sampling: Sampling, index: int) -> Sampling:
    """Each of several answers has a seed of its own."""
    return sampling if sampling.seed is None else replace(sampling, seed=sampling.seed + index)
