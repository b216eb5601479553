"""The server that is struck: two replicas of the embedded model and random adapters, on a disk of its own."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from align.config import TrainingConfig
from align.state import Blobs, Store
from serve.demo.server import free_port
from serve.drill.questions import Question, questions
from serve.drill.references import References, references
from serve.drill.versions import publish_random
from serve.settings import AlignmentSettings, EngineConfig, Settings
from tests.postgresql_server import PostgreSQLServer, postgresql_server

from . import disk
from .people import MAX_TOKENS
from .processes import mark
from .supervisor import Supervisor, supervised

NUM_QUESTIONS = 48
MAX_STEP_S = 20.0
"""Until an engine that stands still is found out: by default it takes as long as a round may."""


@dataclass(frozen=True)
class Subject:
    address: str
    supervisor: Supervisor
    mark: str
    disk: Path
    store: Store
    database: PostgreSQLServer | None
    asked: Sequence[Question]
    references: References


@contextmanager
def subject(seed: int, *, has_postgresql: bool = False) -> Iterator[Subject]:
    """Its database is a PostgreSQL that waits for its own disk, or a file on the disk that is struck."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="errata-chaos-")))
        place = stack.enter_context(disk.disk(folder)) if disk.can_be_made() else folder
        state = place / "state"
        state.mkdir()
        alignment = AlignmentSettings(
            min_corrections=10**6, auto_promote=False, training=TrainingConfig(num_workers=1, num_epochs=1)
        )
        database = stack.enter_context(postgresql_server(is_durable=True)) if has_postgresql else None
        settings = Settings(
            state=state,
            port=free_port(),
            num_replicas=2,
            engine=EngineConfig(max_step_s=MAX_STEP_S),
            alignment=alignment,
            database=database.new_database() if database else None,
        )
        store = stack.enter_context(closing(Store(settings.database_url)))
        blobs = Blobs(settings.blobs_url, cache=state / "cache")
        asked = questions(NUM_QUESTIONS)
        adapters = publish_random(settings.model, store, blobs, seed)
        folders = {"base": None} | {one.version: blobs.fetch_folder(one.blob) for one in adapters}
        expected = references(settings.model, folders, asked, MAX_TOKENS)
        value = mark()
        supervisor = stack.enter_context(supervised(settings))
        address = f"http://{settings.host}:{settings.port}"
        yield Subject(address, supervisor, value, place, store, database, asked, expected)
