"""Rows as tests need them: every field filled, any of them changed by name."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

from sqlalchemy import insert

from align.examples import Example
from align.state import Adapter, Blobs, Correction, Response, Run, Store, schema
from align.state.corrections import spans_to_json
from align.state.rows import to_row

SERVED = "A red cup and a fork."


def response(response_id: str = "r1", **changes: Any) -> Response:
    values: dict[str, Any] = {
        "id": response_id,
        "created": 1.0,
        "model": "errata-scenes",
        "adapter": "base",
        "conversation": [{"role": "user", "content": [{"type": "text", "text": "What?"}]}],
        "sampling": {"max_tokens": 16, "temperature": 0.0},
        "text": SERVED,
        "token_ids": [1, 2, 3],
        "finish_reason": "stop",
        "num_prompt_tokens": 4,
        "timings": {"total_s": 0.5},
        "key_id": "anonymous",
    }
    return Response(**{**values, **changes})


def correction(correction_id: str = "c1", **changes: Any) -> Correction:
    values: dict[str, Any] = {
        "id": correction_id,
        "created": 2.0,
        "status": "accepted",
        "response_id": "r1",
        "corrected_text": SERVED.replace("red", "blue"),
        "spans": [{"start": 2, "end": 5, "replacement": "blue", "kind": "attribute"}],
        "author": None,
        "key_id": "anonymous",
        "idempotency_key": None,
        "body_sha256": "body",
        **changes,
    }
    return Correction(**{"source": values["key_id"], **values})


def served(store: Store, blobs: Blobs, example: Example) -> None:
    """An example's answer, as a replica records it."""
    for image in example.images.values():
        blobs.put_image(image)
    store.responses.add(
        response(
            f"r-{example.id}",
            conversation=example.conversation.to_json(),
            text=example.served_text,
            token_ids=list(example.served_token_ids),
        )
    )


def corrected(store: Store, blobs: Blobs, examples: Sequence[Example]) -> None:
    """Examples as answers and their corrections."""
    for example in examples:
        served(store, blobs, example)
        store.corrections.add(
            correction(
                example.id,
                response_id=f"r-{example.id}",
                corrected_text=example.corrected_text,
                spans=spans_to_json(example.spans),
            )
        )


def answered(store: Store, blobs: Blobs, response_id: str, image: bytes, **changes: Any) -> None:
    """An answer about these bytes, which need not be a picture."""
    parts = [{"type": "image", "sha256": blobs.put_image(image)}, {"type": "text", "text": "What?"}]
    store.responses.add(response(response_id, conversation=[{"role": "user", "content": parts}], **changes))


def some_corrected(store: Store, blobs: Blobs, number: int) -> None:
    """Answers `r0` to so many, each about an image of its own, and their corrections `c0` and so on."""
    for index in range(number):
        answered(store, blobs, f"r{index}", f"image {index}".encode())
        store.corrections.add(correction(f"c{index}", response_id=f"r{index}"))


def claimed(store: Store) -> Run:
    """A run that was asked for just now, under way."""
    store.runs.request("request")
    run = store.runs.claim()
    assert run is not None
    return run


def adapter_row(store: Store, status: str = "admitted", **changes: Any) -> Adapter:
    """The next version, published by a run of its own unless one is given or named."""
    values: dict[str, Any] = {"digest": "d", "blob": "adapters/d", "report": {}, "reason": None, **changes}
    run = values.pop("run", None) or store.runs.get(values.pop("run_id", None) or running(store))
    return store.adapters.publish(run, status=status, **values)


def running(store: Store) -> str:
    """The id of a run under way, older than all that a test asks for."""
    run = Run(id=f"run-{uuid.uuid4().hex}", created=0.0, status="running", trigger="request")
    with store.database.write() as connection:
        connection.execute(insert(schema.runs).values(to_row(run)))
    return run.id
