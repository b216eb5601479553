"""Rows as tests need them: every field filled, any of them changed by name."""

from __future__ import annotations

from typing import Any

from align.state import Adapter, Correction, Response, Store

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
    }
    return Correction(**{**values, **changes})


def adapter_row(store: Store, status: str = "admitted", **changes: Any) -> Adapter:
    values: dict[str, Any] = {"digest": "d", "run_id": "run-1", "blob": "adapters/d", "report": {}}
    return store.adapters.add(status=status, **{**values, **changes})
