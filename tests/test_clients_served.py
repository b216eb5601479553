"""The client and a real server: what one sends the other takes, and what one answers the other reads."""

from __future__ import annotations

import asyncio
import tarfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import openai
import pytest
from errata import AsyncErrata, Errata, ResponseErased
from fake_engine import FakeEngine
from records import adapter_row
from served import MODEL, Served, encoded, listening, serving

TEXT = "A red cup and a fork."


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with serving(tmp_path / "state", FakeEngine(answers={"base": TEXT})) as served:
        yield served


@pytest.fixture
def client(served: Served) -> Iterator[Errata]:
    with listening(served) as url, Errata(base_url=f"{url}/v1", max_retries=0) as client:
        yield client


def test_an_answer_is_corrected_looked_up_listed_exported_and_forgotten(
    client: Errata, served: Served, tmp_path: Path
) -> None:
    reply = client.ask("What?", image=encoded(), user="ada")
    preview = client.feedback.preview(reply.response_id, corrected_text=TEXT.replace("red", "blue"))
    assert (preview.status, preview.spans[0].replacement) == ("accepted", "blue")
    assert list(client.feedback.list()) == []
    made = reply.correct_span("red", "blue", kind="attribute", author="ada")
    approved = reply.approve()
    assert [one.id for one in client.feedback.list(limit=1)] == [approved.id, made.id]
    assert [one.id for one in client.feedback.list(author="ada", status="accepted")] == [made.id]
    record = client.responses.get(reply.response_id)
    assert (record.text, record.user, len(record.images)) == (TEXT, "ada", 1)
    assert [one.id for one in record.corrections] == [approved.id, made.id]
    with pytest.raises(openai.ConflictError, match="there is none yet"):
        client.feedback.export(tmp_path / "none.tar", format="openai")
    assert served.client.delete(f"/feedback/{approved.id}").status_code == 200
    file = client.feedback.export(tmp_path / "openai.tar", format="openai")
    with tarfile.open(file) as tar:
        assert tar.getnames() == ["errata-openai/errata.jsonl"]
    (pair,) = client.feedback.rows()
    assert (pair.id, pair.chosen, pair.rejected) == (made.id, made.corrected_text, TEXT)
    assert [part["type"] for part in pair.messages[0]["content"]] == ["image_url", "text"]
    client.responses.delete(reply.response_id)
    with pytest.raises(ResponseErased):
        client.responses.get(reply.response_id)


def test_a_browser_s_token_corrects_as_a_key_does(client: Errata) -> None:
    reply = client.ask("What?", feedback_token=True)
    assert reply.feedback_token is not None
    with Errata(base_url=client.base_url, api_key=reply.feedback_token, max_retries=0) as browser:
        made = browser.feedback.create(reply.response_id, spans=[])
        assert [one.id for one in browser.feedback.list()] == [made.id]
        with pytest.raises(openai.PermissionDeniedError):
            browser.models.list()


def test_versions_and_runs_are_looked_at_and_ended(client: Errata, served: Served) -> None:
    report = {"training": {"num_pairs": 3}, "gate": {"decision": "held", "reasons": ["held: too few"]}}
    version = adapter_row(served.store, status="held", report=report).version
    (short,) = client.adapters.list().data
    assert (short.version, short.num_pairs, short.verdict, short.reasons) == (
        version,
        3,
        "held",
        ["held: too few"],
    )
    assert client.adapters.get(version).report == report
    assert client.adapters.retire(version).status == "retired"
    run = client.alignments.create()
    assert client.alignments.cancel(run.id).is_ended
    assert client.alignments.wait(run.id).reason == "cancelled on request"


def test_the_asynchronous_client_turns_pages_and_downloads(
    client: Errata, served: Served, tmp_path: Path
) -> None:
    ids = [client.ask("What?").correct_span("red", "blue").id for _ in range(3)]

    async def read() -> tuple[list[str], Path, str]:
        async with AsyncErrata(base_url=client.base_url, max_retries=0) as other:
            found = [one.id async for one in other.feedback.list(limit=2)]
            file = await other.feedback.export(tmp_path / "trl.tar")
            record = await other.responses.get(served.store.corrections.get(ids[0]).response_id)
            return found, file, record.model

    found, file, model = asyncio.run(read())
    assert (found, model) == (ids[::-1], MODEL)
    with tarfile.open(file) as tar:
        assert tar.getnames() == ["errata-trl/train.parquet"]


@pytest.mark.skipif(
    find_spec("datasets") is None, reason="needs Hugging Face's datasets: the extra `peers` has it"
)
def test_corrections_become_a_dataset_where_its_library_is(client: Errata) -> None:
    made = client.ask("What?", image=encoded()).correct_span("red", "blue")
    data = client.feedback.to_datasets()
    assert (data[0]["id"], data[0]["chosen"][0]["content"][0]["text"]) == (made.id, made.corrected_text)
    assert data[0]["images"][0].size == (8, 6)
