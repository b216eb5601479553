"""The OpenAPI document is true, as Schemathesis finds it: whatever is sent, no answer is a surprise.

`ERRATA_API_EXAMPLES=300 python -m pytest tests/test_serve_api_openapi.py` sends tens of thousands of requests.
"""

from __future__ import annotations

import copy
import os
from collections import Counter
from collections.abc import Iterator
from hashlib import sha256
from typing import Any

import pytest
import schemathesis
from fake_engine import FakeEngine
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from records import SERVED, adapter_row, correction, response
from schemathesis.checks import CHECKS, load_all_checks
from schemathesis.generation import GenerationMode
from served import MODEL, Served, encoded, listening, serving

NUM_EXAMPLES = int(os.environ.get("ERRATA_API_EXAMPLES", "8"))
"""Requests to each route, in each of the ways below."""

load_all_checks()
WHAT_NO_SCHEMA_SAYS = CHECKS.get_by_names(["positive_data_acceptance"])
"""A correction without words, an answer longer than the model: the schema allows them, and the server need not."""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("state"), FakeEngine(max_waiting=64)) as served:
        yield served


@pytest.fixture(scope="module")
def url(served: Served) -> Iterator[str]:
    with listening(served) as url:
        yield url


@pytest.fixture(scope="module")
def operations(served: Served) -> list[Any]:
    """Without the keys: who may ask is tested elsewhere, and here all may."""
    document = copy.deepcopy(served.client.get("/openapi.json").json())
    for methods in document["paths"].values():
        for operation in methods.values():
            operation.pop("security", None)
    return [found.ok() for found in schemathesis.openapi.from_dict(document).get_all_operations()]


class Ids:
    """What there really is, made anew for each route: some of them delete it."""

    def __init__(self, served: Served, name: str) -> None:
        store = served.store
        self.responses = [f"chatcmpl-{name}-{number}" for number in range(6)]
        self.corrections = [f"corr-{name}-{number}" for number in range(6)]
        image = served.replica.blobs.put_image(encoded())
        parts = [{"type": "image", "sha256": image}, {"type": "text", "text": "What?"}]
        for number, (of, one) in enumerate(zip(self.responses, self.corrections, strict=True)):
            key_id = f"key-{number}-{name}"
            conversation = [{"role": "user", "content": parts}]
            store.responses.add(response(of, key_id=key_id, conversation=conversation))
            held = {"status": "quarantined", "reason": "link"} if number % 2 else {}
            store.corrections.add(correction(one, response_id=of, key_id=key_id, **held))
        self.runs = [store.runs.request("request").id, *(run.id for run in store.runs.recent(3))]
        self.versions = [adapter_row(store, status=status).version for status in ("admitted", "held")]
        self.values = {
            "response_id": self.responses,
            "correction_id": self.corrections,
            "after": [*self.corrections[:2], *self.responses[:2]],
            "source_id": [f"key-0-{name}", f"key-1-{name}/ada"],
            "run_id": self.runs,
            "version": [*self.versions, "base", "v1"],
            "model_id": [MODEL, f"{MODEL}@base", f"{MODEL}@latest", f"{MODEL}@v1"],
            "sha256": [image],
            "holder": ["a tab", "another tab"],
            "model": [MODEL, f"{MODEL}@latest"],
            "messages": [[{"role": "user", "content": "What?"}]],
            "spans": [[], [{"start": 0, "end": 1, "replacement": "The"}]],
            "corrected_text": [None, SERVED.replace("A", "The", 1)],
            "served_sha256": [None, sha256(SERVED.encode()).hexdigest()],
        }
        store.erasures.response(self.responses[0])

    def put(self, fields: Any, data: st.DataObject) -> None:
        """In the place of what was made up, where a name says that it is one of these."""
        for field in sorted(set(fields or {}) & set(self.values)) if isinstance(fields, dict) else ():
            fields[field] = data.draw(st.sampled_from(self.values[field]))


def send_many(operation: Any, url: str, mode: GenerationMode, ids: Ids | None) -> Counter[int]:
    """Requests to one route, with ids that there are in some of them; how often each status came."""
    statuses: Counter[int] = Counter()

    @settings(
        max_examples=NUM_EXAMPLES,
        deadline=None,
        derandomize="ERRATA_API_EXAMPLES" not in os.environ,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate],  # what fails is told as it is: to make it smaller would take long
    )
    @given(case=operation.as_strategy(generation_mode=mode), data=st.data())
    def send(case: Any, data: st.DataObject) -> None:
        for fields in (case.path_parameters, case.query, case.body) if ids is not None else ():
            ids.put(fields, data)
        answer = case.call(base_url=url)
        statuses[answer.status_code] += 1
        case.validate_response(answer, excluded_checks=WHAT_NO_SCHEMA_SAYS)

    send()
    return statuses


def report(statuses: Counter[int]) -> None:
    print(f"{statuses.total()} requests: {dict(sorted(statuses.items()))}")


def test_whatever_fits_the_document_is_answered_as_it_says(operations: list[Any], url: str) -> None:
    statuses: Counter[int] = Counter()
    for operation in operations:
        statuses += send_many(operation, url, GenerationMode.POSITIVE, None)
    report(statuses)
    assert set(statuses) >= {200, 404}


def test_whatever_is_asked_of_what_there_is_is_answered_as_it_says(
    operations: list[Any], url: str, served: Served
) -> None:
    statuses: Counter[int] = Counter()
    for index, operation in enumerate(operations):
        statuses += send_many(operation, url, GenerationMode.POSITIVE, Ids(served, str(index)))
    report(statuses)
    assert set(statuses) >= {200, 202, 404, 409}


def test_whatever_does_not_fit_the_document_is_refused_as_it_says(operations: list[Any], url: str) -> None:
    statuses: Counter[int] = Counter()
    for operation in operations:
        if operation.query or operation.body:  # of a path, any word fits
            statuses += send_many(operation, url, GenerationMode.NEGATIVE, None)
    report(statuses)
    assert set(statuses) >= {400}
