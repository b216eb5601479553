"""The engine: a thread that steps all sequences together. schedule -> run -> postprocess."""

from __future__ import annotations

import copy
import logging
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import torch

from align.conversation import Conversation
from align.errors import InvalidAdapter
from align.rendering import Rendered, Renderer

from ..errors import EngineFull, ServeError
from .adapters import LowRank, read_adapter
from .admission import check_sampling, prepare
from .batch import Batch
from .config import EngineConfig
from .device import cores, num_threads
from .loading import load_model
from .protocol import BASE, Delta, EngineSetup, EngineStats, Prompt, Sampling
from .runner import Runner
from .scheduler import schedule
from .sequence import Sequence
from .slots import SlotTable
from .soundness import check_steps
from .vocabulary import Vocabulary

logger = logging.getLogger(__name__)

NUM_PROBE_TOKENS = 16


class TransformersEngine:
    """Implements `Engine` for any model of transformers whose language model uses the standard cache."""

    def __init__(
        self, model: Any, renderer: Renderer, config: EngineConfig, num_cores: int | None = None
    ) -> None:
        """`num_cores` is its share of this machine's, by default all."""
        self._config = config
        self._renderer = renderer
        # its own: a tokenizer that is at work in two threads can refuse with "Already borrowed"
        self._tokenizer = copy.deepcopy(renderer.tokenizer)
        vocabulary = Vocabulary(self._tokenizer)
        probe_ids = vocabulary.plain_ids(NUM_PROBE_TOKENS)
        self._runner = Runner(model, config, probe_ids)
        check_steps(self._runner, probe_ids, self._tokenizer)
        self._num_rows = self._runner.capacity.num_sequences
        self.max_model_len = self._runner.capacity.max_model_len
        self.setup = EngineSetup(
            device=str(model.device),
            dtype=str(model.dtype).removeprefix("torch."),
            attention=str(model.config.get_text_config()._attn_implementation),
            num_threads=num_threads(config, model.num_parameters(), num_cores or cores()),
            num_sequences=self._num_rows,
            max_model_len=self.max_model_len,
            cache_bytes=self._runner.cache_bytes,
            num_adapter_slots=config.num_adapter_slots,
            max_rank=config.max_rank,
        )
        self.num_token_ids = int(model.config.get_text_config().vocab_size)
        self._condition = threading.Condition()  # guards what stands up to the next blank line
        self._slots = SlotTable(config.num_adapter_slots)
        self._waiting: dict[str, Sequence] = {}
        self._live: dict[str, Sequence] = {}
        self._jobs: list[tuple[Callable[[], None], Future[None]]] = []
        self._is_closing = False

        self._batch = Batch(self._runner, vocabulary)  # only the engine's thread touches it
        self._step_began: float | None = None  # monotonic; none while there is nothing to do
        self._num_generated_tokens = 0
        self._num_prompt_tokens = 0
        self._thread = threading.Thread(target=self._loop, name="errata-engine", daemon=True)
        self._thread.start()

    @classmethod
    def from_pretrained(
        cls,
        path_or_id: str | Path,
        config: EngineConfig | None = None,
        revision: str | None = None,
        num_cores: int | None = None,
    ) -> TransformersEngine:
        """Raises `SettingsError` for a model, a length or a kind of attention that cannot be served."""
        config = config or EngineConfig()
        model, renderer = load_model(path_or_id, config, revision)
        return cls(model, renderer, config, num_cores)

    def prepare(self, conversation: Conversation, images: Mapping[str, bytes]) -> Prompt:
        return prepare(self._renderer, conversation, images, self.max_model_len)

    def submit(
        self, prompt: Prompt, sampling: Sampling, adapter: str, on_delta: Callable[[Delta], None]
    ) -> str:
        assert isinstance(prompt, Rendered), "a prompt must come from this engine's `prepare`"
        check_sampling(sampling, prompt.num_tokens, self.max_model_len, self.num_token_ids)
        with self._condition:
            if self._is_closing:
                raise EngineFull("The engine is closing: ask again when it is back.")
            if len(self._waiting) >= self._config.max_waiting:
                raise EngineFull(f"{len(self._waiting)} requests are waiting already: ask again later.")
            sequence = Sequence(
                uuid.uuid4().hex,
                prompt,
                sampling,
                adapter,
                self._slots.pin(adapter),
                on_delta,
                self._tokenizer,
                self._renderer.eos_token_ids,
            )
            self._waiting[sequence.sequence_id] = sequence
            self._live[sequence.sequence_id] = sequence
            self._condition.notify()
        return sequence.sequence_id

    def cancel(self, sequence_id: str) -> None:
        with self._condition:
            if sequence_id in self._live:
                self._live[sequence_id].is_cancelled = True
                self._condition.notify()

    def load(self, version: str, folder: Path) -> None:
        """A version that is loaded already is left as it is: versions never change."""
        if version == BASE:
            raise InvalidAdapter(f"{BASE!r} stands for no adapter: give the version another name.")
        with self._condition:
            if self._slots.keep(version):
                return
            self._slots.free_slot()  # while there is none it is asked often: read no files for that
        adapter = read_adapter(folder, self._runner.shapes, self._config.max_rank)
        self._do_between_steps(lambda: self._install(version, adapter))

    def unload(self, version: str) -> None:
        with self._condition:
            self._slots.retire(version)

    def stats(self) -> EngineStats:
        with self._condition:
            return EngineStats(
                num_running=len(self._live) - len(self._waiting),
                num_waiting=len(self._waiting),
                num_slots=self._num_rows,
                max_waiting=self._config.max_waiting,
                num_generated_tokens=self._num_generated_tokens,
                num_prompt_tokens=self._num_prompt_tokens,
                adapters=self._slots.versions,
            )

    def check(self) -> None:
        if not self._thread.is_alive():
            raise ServeError("the engine's thread has ended")
        if self._batch.is_device_lost:
            raise ServeError("the device failed, and every call to it will; the log has its first error")
        began, limit = self._step_began, self._config.max_step_s
        if began is not None and time.monotonic() - began > limit:
            raise ServeError(f"a step of the engine takes longer than max_step_s, {limit:g} s")

    def close(self) -> None:
        with self._condition:
            self._is_closing = True
            self._condition.notify()
        if threading.current_thread() is not self._thread:
            self._thread.join(self._config.max_step_s)

    def _loop(self) -> None:
        torch.set_num_threads(self.setup.num_threads)  # OpenMP counts for each thread that calls
        while jobs := self._wait_for_work():
            for job in jobs:
                self._step_began = time.monotonic()
                try:
                    job()
                except Exception:
                    logger.exception("A step failed as a whole: its sequences end, the engine goes on.")
                    self._fail_all("The engine failed; see the server's log.")
            self._step_began = None
        self._fail_all("The engine was closed.")

    def _wait_for_work(self) -> list[Callable[[], None]]:
        """What to do next, blocking until there is something; nothing when the engine closes."""
        with self._condition:
            self._condition.wait_for(lambda: self._live or self._jobs or self._is_closing)
            jobs, self._jobs = self._jobs, []
            if self._is_closing:
                for _, done in jobs:
                    done.set_exception(EngineFull("The engine is closing: ask again when it is back."))
                return []
        return [*(_report(job, done) for job, done in jobs), self._step]

    @torch.inference_mode()
    def _step(self) -> None:
        self._drop_cancelled()
        with self._condition:
            plan = schedule(
                self._waiting.values(),
                self._batch.sequences,
                self._batch.long,
                self._num_rows,
                self._config.max_prefill_tokens,
            )
            for sequence in plan.begun:
                self._waiting.pop(sequence.sequence_id, None)
        deltas = self._batch.step(plan)
        self._num_prompt_tokens += sum(
            sequence.prompt.num_tokens for sequence in plan.begun if sequence is not self._batch.long
        )
        self._num_generated_tokens += sum(len(delta.token_ids) for _, delta in deltas)
        self._emit(deltas)

    def _drop_cancelled(self) -> None:
        with self._condition:
            cancelled = [sequence for sequence in self._live.values() if sequence.is_cancelled]
        for sequence in cancelled:
            self._batch.remove(sequence)
        self._emit([(sequence, sequence.end("cancelled")) for sequence in cancelled])

    def _emit(self, deltas: list[tuple[Sequence, Delta]]) -> None:
        for sequence, delta in deltas:
            if delta.finish_reason is not None:
                self._forget(sequence)
        for sequence, delta in deltas:
            try:
                sequence.on_delta(delta)
            except Exception:
                logger.exception("The receiver of sequence %s failed: it is cancelled.", sequence.sequence_id)
                sequence.is_cancelled = True

    def _forget(self, sequence: Sequence) -> None:
        with self._condition:
            del self._live[sequence.sequence_id]
            self._waiting.pop(sequence.sequence_id, None)
            self._slots.unpin(sequence.version)

    def _fail_all(self, error: str) -> None:
        with self._condition:
            sequences = list(self._live.values())
        self._emit([(sequence, sequence.end("error", error)) for sequence in sequences])
        self._batch.clear()

    def _install(self, version: str, adapter: Mapping[str, LowRank]) -> None:
        """In the engine's thread, so that no forward sees a slot half written."""
        with self._condition:
            if self._slots.keep(version):
                return
            slot = self._slots.free_slot()
        try:
            self._runner.write_adapter(version, slot, adapter)
        except InvalidAdapter as error:
            raise InvalidAdapter(f"{version}: {error}") from error
        with self._condition:
            self._slots.add(version, slot)

    def _do_between_steps(self, job: Callable[[], None]) -> None:
        done: Future[None] = Future()
        with self._condition:
            if self._is_closing:
                raise EngineFull("The engine is closing: ask again when it is back.")
            self._jobs.append((job, done))
            self._condition.notify()
        done.result()


def _report(job: Callable[[], None], done: Future[None]) -> Callable[[], None]:
    def run() -> None:
        try:
            job()
        except Exception as error:
            done.set_exception(error)
        else:
            done.set_result(None)

    return run
