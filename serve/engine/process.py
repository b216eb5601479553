"""`Engine` for a replica: prompts are made here, the model runs in a process of its own beside it.

What is refused is refused here, by what this side knows of the other: lengths, versions, and how much waits.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path

import structlog

from align.conversation import Conversation
from align.errors import InvalidAdapter
from align.rendering import Rendered, Renderer

from ..errors import EngineEnded, EngineFull, NotReady, ServeError, SettingsError, UnknownAdapter
from . import wire
from .admission import check_sampling, prepare
from .config import EngineConfig
from .host_process import HostProcess
from .protocol import BASE, Delta, EngineStats, Prompt, Sampling

log = structlog.get_logger()

ERRORS: Mapping[str, type[Exception]] = {one.__name__: one for one in (InvalidAdapter, EngineFull)}
"""Those of `Engine.load`; all others are a `ServeError`."""
ENDED = "the engine's process has ended; the server's log may say why"
CLOSE_S = 30.0
CERTAIN_S = 1.0
"""So long after it was found ill a process is killed if it still is: one that was only stopped together with this one
says so at once."""


@dataclass
class _Listener:
    on_delta: Callable[[Delta], None]
    num_prompt_tokens: int
    has_begun: bool = False


class EngineProcess:
    """Implements `Engine`. `on_delta` is called from the thread that reads what the other process says."""

    def __init__(
        self,
        path_or_id: str | Path,
        config: EngineConfig | None = None,
        revision: str | None = None,
        num_cores: int | None = None,
        host: HostProcess | None = None,
    ) -> None:
        """Returns when the model is loaded, in `host` if it is given. Raises `SettingsError` where it cannot be."""
        self._config = config or EngineConfig()
        self._host = host or HostProcess()
        self._line = wire.Line(self._host.socket)
        self._line.send(wire.Start(str(path_or_id), _roomier(self._config), revision, num_cores))
        parcels = self._line.received()
        try:
            self._renderer = Renderer.from_pretrained(path_or_id, revision)  # while the other loads the model
            started = _started(parcels)
        except BaseException:
            self._host.end(0.0)
            self._line.close()
            raise
        self.setup = started.setup
        self.max_model_len = started.setup.max_model_len
        self._num_token_ids = started.num_token_ids

        self._lock = threading.Lock()  # guards what stands up to the next blank line
        self._listeners: dict[str, _Listener] = {}
        self._adapters: list[str] = []
        self._loads: dict[str, Future[None]] = {}
        self._is_closing = self._has_ended = False
        self._illness: str | None = None
        self._heard_at = time.monotonic()
        self._ill_since: float | None = None
        self._num_generated_tokens = self._num_prompt_tokens = 0

        self._reader = threading.Thread(target=self._read, args=(parcels,), name="errata-engine", daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        return self._host.pid

    def prepare(self, conversation: Conversation, images: Mapping[str, bytes]) -> Prompt:
        return prepare(self._renderer, conversation, images, self.max_model_len)

    def submit(
        self, prompt: Prompt, sampling: Sampling, adapter: str, on_delta: Callable[[Delta], None]
    ) -> str:
        assert isinstance(prompt, Rendered), "a prompt must come from this engine's `prepare`"
        check_sampling(sampling, prompt.num_tokens, self.max_model_len, self._num_token_ids)
        sequence_id = uuid.uuid4().hex
        with self._lock:
            self._check_open()
            num_beyond = len(self._listeners) - self.setup.num_sequences
            if num_beyond >= self._config.max_waiting:
                raise EngineFull(f"{num_beyond} requests are waiting already: ask again later.")
            if adapter != BASE and adapter not in self._adapters:
                raise UnknownAdapter(
                    f"Adapter {adapter!r} is not loaded; loaded are {[BASE, *self._adapters]}."
                )
            self._listeners[sequence_id] = _Listener(on_delta, prompt.num_tokens)
            message = wire.Submit(sequence_id, prompt.input_ids, prompt.image_ids, sampling, adapter)
            self._line.send(message, prompt.tensors)
        return sequence_id

    def cancel(self, sequence_id: str) -> None:
        self._line.send(wire.Cancel(sequence_id))

    def load(self, version: str, folder: Path) -> None:
        if version == BASE:
            raise InvalidAdapter(f"{BASE!r} stands for no adapter: give the version another name.")
        with self._lock:
            self._check_open()
            loaded = self._loads.get(version)
            if loaded is None:
                loaded = self._loads[version] = Future()
                self._line.send(wire.Load(version, str(folder.absolute())))
        loaded.result()

    def unload(self, version: str) -> None:
        with self._lock:
            if version in self._adapters:
                self._adapters.remove(version)
                self._line.send(wire.Unload(version))

    def stats(self) -> EngineStats:
        with self._lock:
            num_waiting = self._num_waiting()
            return EngineStats(
                num_running=len(self._listeners) - num_waiting,
                num_waiting=num_waiting,
                num_slots=self.setup.num_sequences,
                max_waiting=self._config.max_waiting,
                num_generated_tokens=self._num_generated_tokens,
                num_prompt_tokens=self._num_prompt_tokens,
                adapters=tuple(self._adapters),
            )

    def check(self) -> None:
        if not self._reader.is_alive():
            raise EngineEnded(ENDED)
        reason, now = self._reason_to_give_up(), time.monotonic()
        if reason is None:
            self._ill_since = None
            return
        self._ill_since = now if self._ill_since is None else self._ill_since
        if now - self._ill_since > CERTAIN_S:
            self._host.kill()  # else those who wait for it would hold this replica up for as long as they may
        raise ServeError(reason)

    def _reason_to_give_up(self) -> str | None:
        silence_s = time.monotonic() - self._heard_at
        if self._illness is None and silence_s > self._config.max_step_s:
            return f"the engine's process has said nothing for {silence_s:.0f} s"
        return self._illness

    def close(self) -> None:
        with self._lock:
            self._is_closing = True
        self._line.send(wire.Close())
        self._host.end(CLOSE_S)
        self._reader.join()
        self._line.close()

    def _check_open(self) -> None:
        if self._is_closing:
            raise EngineFull("The engine is closing: ask again when it is back.")
        if self._has_ended:
            raise NotReady("the engine's process has ended and another one will come: ask again in a moment")

    def _num_waiting(self) -> int:
        """Those without a first token."""
        return sum(not listener.has_begun for listener in self._listeners.values())

    def _read(self, parcels: Iterator[wire.Parcel]) -> None:
        try:
            for parcel in parcels:
                self._heard_at = time.monotonic()
                match parcel.message:
                    case wire.Told(sequence_id, delta):
                        self._pass_on(sequence_id, delta)
                    case wire.Loaded() as loaded:
                        self._note(loaded)
                    case wire.Pulse(illness):
                        self._illness = illness
        finally:
            self._give_up()

    def _pass_on(self, sequence_id: str, delta: Delta) -> None:
        with self._lock:
            listener = self._listeners[sequence_id]
            if not listener.has_begun:
                listener.has_begun = True
                self._num_prompt_tokens += listener.num_prompt_tokens
            self._num_generated_tokens += len(delta.token_ids)
            if delta.finish_reason is not None:
                del self._listeners[sequence_id]
        self._tell(sequence_id, listener, delta)

    def _tell(self, sequence_id: str, listener: _Listener, delta: Delta) -> None:
        try:
            listener.on_delta(delta)
        except Exception:  # of one request; the others go on
            log.exception("the receiver of a sequence failed, it is cancelled", sequence=sequence_id)
            self.cancel(sequence_id)

    def _note(self, loaded: wire.Loaded) -> None:
        with self._lock:
            waiting = self._loads.pop(loaded.version)
            if loaded.error is None and loaded.version not in self._adapters:
                self._adapters.append(loaded.version)
        if loaded.error is None:
            waiting.set_result(None)
        else:
            waiting.set_exception(ERRORS.get(loaded.error, ServeError)(loaded.message))

    def _give_up(self) -> None:
        """The other process has ended, as it was told or not."""
        with self._lock:
            self._has_ended = True
            listeners, self._listeners = self._listeners, {}
            loads, self._loads = list(self._loads.values()), {}
        for sequence_id, listener in listeners.items():
            self._tell(sequence_id, listener, Delta((), "", "error", ENDED))
        for load in loads:
            load.set_exception(ServeError(ENDED))


def _roomier(config: EngineConfig) -> EngineConfig:
    """What waits is counted on this side, which hears of a first token a moment later: the other never refuses."""
    return config.model_copy(update={"max_waiting": config.max_waiting + config.max_num_sequences})


def _started(parcels: Iterator[wire.Parcel]) -> wire.Started:
    message = next((parcel.message for parcel in parcels), None)
    if isinstance(message, wire.Started):
        return message
    reason = message.message if isinstance(message, wire.NotStarted) else ENDED
    raise SettingsError(f"the engine did not start: {reason}")
