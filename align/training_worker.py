"""What each Ray Train worker runs: training, with its outcome left in the run folder.

An error that another try would meet again ends the run. Any other, and the death of the process, leaves it to Ray
Train to start the workers anew, which go on from the last checkpoint.
"""

from __future__ import annotations

import atexit
import json
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from .config import TrainingConfig
from .durable import write_whole
from .errors import AlignError, TrainingStopped
from .run_folder import RunFolder

GRACE_S = 60.0
"""How long a worker that is told to leave may take to end its step and to save the run."""


def work(settings: dict[str, Any]) -> None:
    os.nice(settings["config"]["niceness"])  # of this thread and those that it starts; loading takes seconds
    from .training import train
    from .workers import Workers

    config, folder = TrainingConfig.model_validate(settings["config"]), RunFolder(Path(settings["folder"]))
    folder.check()
    if folder.result.exists():  # another worker died after all was done
        return
    rank = Workers.current(config.device).rank
    if rank == 0:
        folder.discard_adapter()
    folder.write_worker(rank, {"pid": os.getpid(), "host": socket.gethostname()})
    with _leaving() as is_leaving:
        try:
            result = train(
                settings["base"],
                folder.read_examples(),
                config,
                folder.adapter,
                folder.write_progress,
                checkpoints=folder.checkpoints,
                features=folder.features,
                should_stop=lambda: folder.is_asked_to_stop or is_leaving.is_set(),
                should_pause=lambda: folder.is_asked_to_pause,
            )
        except TrainingStopped as stopped:
            if not folder.is_asked_to_stop:  # one worker has to leave; the run itself is to go on
                raise
            folder.write_failure(stopped)
        except AlignError as error:
            folder.write_failure(error)
        else:
            if rank == 0:
                write_whole(folder.result, json.dumps(asdict(result)).encode())


@contextmanager
def _leaving() -> Iterator[threading.Event]:
    """Set when this process is ending. SIGTERM makes Ray leave the main thread, while training runs in another one:
    the exit waits until the block has ended.
    """
    is_leaving, has_left = threading.Event(), threading.Event()

    def leave() -> None:
        is_leaving.set()
        has_left.wait(GRACE_S)

    atexit.register(leave)
    try:
        yield is_leaving
    finally:
        has_left.set()
        atexit.unregister(leave)
