"""What an engine in a process of its own and its replica say to each other: JSON, and tensors as safetensors.

Whatever waits to be said is said at once: a step's deltas are one frame. Knows no model and no queue of sequences.
"""

from __future__ import annotations

import os
import queue
import socket
import struct
import threading
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Annotated, Literal, TypeAlias

import safetensors.torch
import structlog
import torch
from pydantic import ConfigDict, Field, TypeAdapter
from torch import Tensor

from .config import EngineConfig
from .protocol import Delta, EngineSetup, Sampling

log = structlog.get_logger()

MAX_FRAME = 64
"""Messages in one frame."""
HEAD = struct.Struct("<Q")
"""Length of the JSON; the tensors are what follows it."""


@dataclass(frozen=True)
class Start:
    path_or_id: str
    config: EngineConfig
    revision: str | None
    num_cores: int | None
    kind: Literal["start"] = "start"


@dataclass(frozen=True)
class Started:
    setup: EngineSetup
    num_token_ids: int
    kind: Literal["started"] = "started"


@dataclass(frozen=True)
class NotStarted:
    message: str
    kind: Literal["not started"] = "not started"


@dataclass(frozen=True)
class Submit:
    sequence_id: str
    input_ids: tuple[int, ...]
    image_ids: tuple[str, ...]
    sampling: Sampling
    adapter: str
    kind: Literal["submit"] = "submit"


@dataclass(frozen=True)
class Cancel:
    sequence_id: str
    kind: Literal["cancel"] = "cancel"


@dataclass(frozen=True)
class Load:
    version: str
    folder: str
    kind: Literal["load"] = "load"


@dataclass(frozen=True)
class Loaded:
    """`error` is None or the name of an error's class."""

    version: str
    error: str | None = None
    message: str = ""
    kind: Literal["loaded"] = "loaded"


@dataclass(frozen=True)
class Unload:
    version: str
    kind: Literal["unload"] = "unload"


@dataclass(frozen=True)
class Told:
    sequence_id: str
    delta: Delta
    kind: Literal["told"] = "told"


@dataclass(frozen=True)
class Pulse:
    """Said every second; `illness` is why only a new process can help."""

    illness: str | None
    kind: Literal["pulse"] = "pulse"


@dataclass(frozen=True)
class Close:
    kind: Literal["close"] = "close"


Message: TypeAlias = (
    Start | Started | NotStarted | Submit | Cancel | Load | Loaded | Unload | Told | Pulse | Close
)
_messages: TypeAdapter[list[Message]] = TypeAdapter(
    list[Annotated[Message, Field(discriminator="kind")]],
    config=ConfigDict(ser_json_bytes="base64", val_json_bytes="base64", ser_json_inf_nan="constants"),
)


@dataclass(frozen=True)
class Parcel:
    message: Message
    tensors: Mapping[str, Tensor] = field(default_factory=dict)


class Line:
    """One end of a connection. `send` never blocks; where nothing can be sent any more, both ends' readers end."""

    def __init__(self, end: socket.socket) -> None:
        self._connection = Connection(end.detach())
        self._parcels: queue.SimpleQueue[Parcel | None] = queue.SimpleQueue()
        self._sender = threading.Thread(target=self._send_all, name="errata-line", daemon=True)
        self._sender.start()

    def send(self, message: Message, tensors: Mapping[str, Tensor] | None = None) -> None:
        self._parcels.put(Parcel(message, tensors or {}))

    def received(self) -> Iterator[Parcel]:
        """Until the other end is closed, however that came."""
        with suppress(EOFError, OSError):
            while True:
                yield from unpack(self._connection.recv_bytes())

    def flush(self, timeout_s: float) -> None:
        """Send what waits and nothing more."""
        self._parcels.put(None)
        self._sender.join(timeout_s)

    def close(self) -> None:
        self._parcels.put(None)
        self._connection.close()

    def _send_all(self) -> None:
        is_open = True
        while is_open:
            parcels = self._waiting()
            is_open = parcels[-1] is not None
            frame = [parcel for parcel in parcels if parcel is not None]
            try:
                if frame:
                    self._connection.send_bytes(pack(frame))
            except OSError:  # closed, at this end or the other
                return
            except (
                Exception
            ):  # the thread's outermost loop: a line that is silent for good must not look well
                log.exception("nothing can be said to the other process any more")
                self._hang_up()
                return

    def _hang_up(self) -> None:
        """Unlike `close`, ends what is being received, too."""
        with suppress(OSError), socket.socket(fileno=os.dup(self._connection.fileno())) as end:
            end.shutdown(socket.SHUT_RDWR)

    def _waiting(self) -> list[Parcel | None]:
        """At least one, the last of them None where there is an end."""
        parcels = [self._parcels.get()]
        with suppress(queue.Empty):
            while parcels[-1] is not None and len(parcels) < MAX_FRAME:
                parcels.append(self._parcels.get_nowait())
        return parcels


def pack(parcels: list[Parcel]) -> bytes:
    text = _messages.dump_json([parcel.message for parcel in parcels])
    tensors = {
        # a copy: several answers to one prompt share its tensors, which safetensors refuses
        f"{number} {name}": tensor.clone(memory_format=torch.contiguous_format)
        for number, parcel in enumerate(parcels)
        for name, tensor in parcel.tensors.items()
    }
    return HEAD.pack(len(text)) + text + (safetensors.torch.save(tensors) if tensors else b"")


def unpack(frame: bytes) -> list[Parcel]:
    (length,) = HEAD.unpack_from(frame)
    end = HEAD.size + length
    messages = _messages.validate_json(frame[HEAD.size : end])
    tensors: list[dict[str, Tensor]] = [{} for _ in messages]
    if len(frame) > end:
        for key, tensor in safetensors.torch.load(frame[end:]).items():
            number, _, name = key.partition(" ")
            tensors[int(number)][name] = tensor
    return [Parcel(message, of_message) for message, of_message in zip(messages, tensors, strict=True)]
