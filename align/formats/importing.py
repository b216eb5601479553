"""Preferences of a dataset into the store, as corrections of answers that no version of this server gave.

The rejected text is tokenised here: this is the one place where token ids are not those that were sampled.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import AlignError, UnfitRow
from ..examples import Example
from ..pairs import make_pair
from ..rendering import Renderer
from ..spans import diff_spans
from ..state import Blobs, Correction, Response, Store
from ..state.corrections import spans_to_json
from ..state.wanted_responses import IMPORTED
from .preference import Failure, Preference, PreferenceFile

KEY_ID = "import"
"""Who gave them, to those that count by source: an admin, all imports together."""


@dataclass(frozen=True)
class Importer:
    """Makes and stores records for one model."""

    store: Store
    blobs: Blobs
    renderer: Renderer
    model: str
    """The model's name, as its own answers have it."""
    max_code_points: int = 20_000
    """Of one answer: to compare two texts takes long for long ones."""

    def run(
        self,
        file: PreferenceFile,
        on_failure: Callable[[Failure], None],
        on_batch: Callable[[Imported], None] = lambda _: None,
        batch_size: int = 64,
    ) -> Imported:
        """Store what the file holds, a batch in one transaction; again is as good as once.

        A row that cannot be taken over is named to `on_failure`, and the others go on. Raises `InvalidDataset`
        where the file as a whole cannot be read.
        """
        done = Imported()
        batch: dict[str, _Record] = {}
        for number, row in file.rows():
            try:
                record = self._record(file.parse(row), {"file": file.path.name, "row": number})
            except AlignError as error:
                on_failure(Failure(f"row {number}", str(error)))
                done += Imported(num_failed=1)
                continue
            if batch.setdefault(record.response.id, record) is not record:
                done += Imported(num_known=1)
            if len(batch) == batch_size:
                done += self._store(batch)
                batch = {}
                on_batch(done)
        return done + self._store(batch)

    def _record(self, preference: Preference, place: dict[str, Any]) -> _Record:
        """Raises `UnfitRow`, `UnfitPair`."""
        if preference.images and not self.renderer.has_vision:
            raise UnfitRow(f"it has an image, and the model {self.model} reads none")
        longest = max(len(preference.rejected), len(preference.chosen))
        if longest > self.max_code_points:
            raise UnfitRow(f"an answer of {longest} code points exceeds the {self.max_code_points} allowed")
        example = self._example(preference)
        make_pair(example, self.renderer.tokenizer, self.renderer.eos_token_ids)
        return _Record(*_rows(example, {**place, **preference.origin}, self.model), preference.images)

    def _example(self, preference: Preference) -> Example:
        ids = self.renderer.tokenizer.encode(preference.rejected, add_special_tokens=False)
        return Example(
            id=_digest(preference)[:32],
            conversation=preference.conversation,
            images=preference.images,
            served_text=preference.rejected,
            served_token_ids=(*ids, *self.renderer.eos_token_ids[:1]),
            corrected_text=preference.chosen,
            spans=tuple(diff_spans(preference.rejected, preference.chosen)),
        )

    def _store(self, batch: dict[str, _Record]) -> Imported:
        known = self.store.imports.known(list(batch))
        new = [record for response_id, record in batch.items() if response_id not in known]

        def put_images() -> None:
            for record in new:
                for data in record.images.values():
                    self.blobs.put_image(data)

        put_images()  # before the lock is taken, so that it is held for a moment only
        num_added = self.store.imports.add([(one.response, one.correction) for one in new], put_images)
        return Imported(num_added=num_added, num_known=len(batch) - num_added)


@dataclass(frozen=True)
class Imported:
    """How many rows went which way."""

    num_added: int = 0
    num_known: int = 0
    """There already, from an earlier import or the same file. What was erased since stays erased."""
    num_failed: int = 0

    def __add__(self, other: Imported) -> Imported:
        return Imported(
            self.num_added + other.num_added,
            self.num_known + other.num_known,
            self.num_failed + other.num_failed,
        )

    @property
    def num_rows(self) -> int:
        return self.num_added + self.num_known + self.num_failed


@dataclass(frozen=True)
class _Record:
    response: Response
    correction: Correction
    images: Mapping[str, bytes]


def _rows(example: Example, origin: dict[str, Any], model: str) -> tuple[Response, Correction]:
    now = time.time()
    response = Response(
        id=f"import-{example.id}",
        created=now,
        model=model,
        adapter=IMPORTED,
        conversation=example.conversation.to_json(),
        sampling={"imported": origin},
        text=example.served_text,
        token_ids=list(example.served_token_ids),
        finish_reason="stop",
        num_prompt_tokens=0,  # never rendered
        timings={},
        key_id=KEY_ID,
    )
    correction = Correction(
        id=f"corr-{example.id}",
        created=now,
        status="accepted",
        response_id=response.id,
        corrected_text=example.corrected_text,
        spans=spans_to_json(example.spans),
        author=None,
        key_id=KEY_ID,
        idempotency_key=None,
        body_sha256=example.id,
        source=KEY_ID,
        reviewed=now,
        reviewer=KEY_ID,
    )
    return response, correction


def _digest(preference: Preference) -> str:
    """Of what was said, wrongly and rightly: the same row of any file is the same correction."""
    said = [preference.conversation.to_json(), preference.rejected, preference.chosen]
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()
