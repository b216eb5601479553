"""The server that is struck: two replicas of the embedded model and random adapters, on a disk of its own."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from align.config import TrainingConfig
from align.state import Blobs, Store
from serve.demo.server import free_port, server
from serve.drill.questions import Question, questions
from serve.drill.references import References, references
from serve.drill.versions import publish_random
from serve.settings import AlignmentSettings, Settings

from . import disk
from .people import MAX_TOKENS
from .processes import mark

NUM_QUESTIONS = 48


@dataclass(frozen=True)
class Subject:
    address: str
    pid: int
    mark: str
    disk: Path
    store: Store
    asked: Sequence[Question]
    references: References


@contextmanager
def subject(seed: int) -> Iterator[Subject]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="errata-chaos-")))
        place = stack.enter_context(disk.disk(folder)) if disk.can_be_made() else folder
        state = place / "state"
        state.mkdir()
        alignment = AlignmentSettings(
            min_corrections=10**6, auto_promote=False, training=TrainingConfig(num_workers=1, num_epochs=1)
        )
        settings = Settings(state=state, port=free_port(), num_replicas=2, alignment=alignment)
        store = stack.enter_context(closing(Store(settings.database_url)))
        blobs = Blobs(settings.blobs_url, cache=state / "cache")
        asked = questions(NUM_QUESTIONS)
        adapters = publish_random(settings.model, store, blobs, seed)
        folders = {"base": None} | {one.version: blobs.fetch_folder(one.blob) for one in adapters}
        expected = references(settings.model, folders, asked, MAX_TOKENS)
        value = mark()
        process = stack.enter_context(server(settings))
        address = f"http://{settings.host}:{settings.port}"
        yield Subject(address, process.pid, value, place, store, asked, expected)
