"""An engine in a process of its own: `python -m serve.engine.host FD` does what its replica says through that socket.

The replica's Python would take the interpreter's lock from the engine's thread between any two operations of a step.
"""

from __future__ import annotations

import os
import select
import socket
import sys
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import structlog

from align.errors import AlignError
from align.rendering import Rendered

from ..errors import ServeError
from ..logs import configure_logs
from . import wire
from .engine import TransformersEngine
from .protocol import Delta

log = structlog.get_logger()

PULSE_S = 1.0
FLUSH_S = 5.0


class Host:
    def __init__(self, engine: TransformersEngine, line: wire.Line) -> None:
        self._engine, self._line = engine, line
        self._lock = threading.Lock()
        self._running: dict[str, str] = {}  # the engine's id of a sequence, by the replica's
        self._is_closing = threading.Event()

    def serve(self, parcels: Iterator[wire.Parcel]) -> None:
        """Until it is told to close. Ends the process at once where the replica's has ended: nobody waits any more."""
        threading.Thread(target=self._pulse, name="errata-pulse", daemon=True).start()
        for parcel in parcels:
            match parcel.message:
                case wire.Submit() as submit:
                    self._submit(submit, parcel)
                case wire.Cancel(sequence_id):
                    self._cancel(sequence_id)
                case wire.Load() as load:  # reads files, and waits for a pause between two steps
                    threading.Thread(target=self._load, args=(load,), daemon=True).start()
                case wire.Unload(version):
                    self._engine.unload(version)
                case wire.Close():
                    self._is_closing.set()
                    self._engine.close()
                    return
        os._exit(1)

    def _submit(self, submit: wire.Submit, parcel: wire.Parcel) -> None:
        prompt = Rendered(submit.input_ids, dict(parcel.tensors), submit.image_ids)
        tell = partial(self._tell, submit.sequence_id)
        try:
            with self._lock:  # its last delta waits until it is noted
                self._running[submit.sequence_id] = self._engine.submit(
                    prompt, submit.sampling, submit.adapter, tell
                )
        except Exception as error:  # of one request; the others go on
            log.exception("sequence not begun", sequence=submit.sequence_id)
            self._line.send(wire.Told(submit.sequence_id, Delta((), "", "error", str(error))))

    def _tell(self, sequence_id: str, delta: Delta) -> None:
        if delta.finish_reason is not None:
            with self._lock:
                del self._running[sequence_id]
        self._line.send(wire.Told(sequence_id, delta))

    def _cancel(self, sequence_id: str) -> None:
        with self._lock:
            own_id = self._running.get(sequence_id)
        if own_id is not None:
            self._engine.cancel(own_id)

    def _load(self, load: wire.Load) -> None:
        try:
            self._engine.load(load.version, Path(load.folder))
        except (AlignError, ServeError) as error:
            self._line.send(wire.Loaded(load.version, type(error).__name__, str(error)))
        except Exception as error:  # the thread's outermost loop: who waits for it must hear of it
            log.exception("adapter not loaded", version=load.version)
            self._line.send(
                wire.Loaded(load.version, "ServeError", f"{load.version} cannot be loaded: {error}")
            )
        else:
            self._line.send(wire.Loaded(load.version))

    def _pulse(self) -> None:
        while not self._is_closing.wait(PULSE_S):
            try:
                self._engine.check()
            except ServeError as error:
                self._line.send(wire.Pulse(str(error)))
            else:
                self._line.send(wire.Pulse(None))


def _end_with_replica(descriptor: int) -> None:
    """Whatever is being done. While a model is loaded, which may take minutes, nothing else notices it."""
    hang_up = select.poll()
    hang_up.register(descriptor, 0)  # what is sent wakes nobody here
    hang_up.poll()
    os._exit(1)


def main(descriptor: int) -> None:
    configure_logs()
    threading.Thread(target=_end_with_replica, args=(descriptor,), name="errata-orphan", daemon=True).start()
    line = wire.Line(socket.socket(fileno=descriptor))
    parcels = line.received()
    start = next(parcels).message
    assert isinstance(start, wire.Start)
    try:
        engine = TransformersEngine.from_pretrained(
            start.path_or_id, start.config, start.revision, start.num_cores
        )
    except Exception as error:  # the outermost loop while it starts: the replica says it
        log.exception("engine not started", model=start.path_or_id)
        line.send(wire.NotStarted(str(error)))
    else:
        line.send(wire.Started(engine.setup, engine.num_token_ids))
        Host(engine, line).serve(parcels)
    line.flush(FLUSH_S)


if __name__ == "__main__":
    main(int(sys.argv[1]))
