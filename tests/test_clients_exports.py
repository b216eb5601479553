"""The corrections that are learned from, as programs read them: the same holds for plain and for async code."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator

import pytest
from errata import Pair, Span
from errata.tar_lines import TarLines
from fake_errata import FakeErrata, Session, tar

ROWS = [
    {
        "input": {"messages": [{"role": "user", "content": text}]},
        "preferred_output": [{"role": "assistant", "content": f"{text} blue"}],
        "non_preferred_output": [{"role": "assistant", "content": f"{text} red"}],
        "id": f"corr-{number}",
        "spans": [{"start": 2, "end": 5, "replacement": "blue", "kind": "attribute"}],
    }
    for number, text in enumerate(["A", "🙂" * 200, "C"])
]


@pytest.fixture
def server() -> FakeErrata:
    return FakeErrata(rows=ROWS)


@pytest.fixture(params=["sync", "async"])
def session(request: pytest.FixtureRequest, server: FakeErrata) -> Iterator[Session]:
    session = Session(request.param, server, max_retries=0)
    yield session
    session.close()


@pytest.mark.parametrize("size", [1, 511, 512, 513, 10**6])
def test_an_export_is_read_row_by_row_as_it_comes(session: Session, server: FakeErrata, size: int) -> None:
    server.piece_size = size
    pairs = session.items(session.client.feedback.rows())
    assert all(isinstance(pair, Pair) for pair in pairs)
    assert [pair.id for pair in pairs] == ["corr-0", "corr-1", "corr-2"]
    assert [pair.messages for pair in pairs] == [row["input"]["messages"] for row in ROWS]
    assert (pairs[0].chosen, pairs[0].rejected) == ("A blue", "A red")
    assert pairs[0].spans == [Span(start=2, end=5, replacement="blue", kind="attribute")]
    assert dict(server.requests[-1].url.params) == {"format": "openai"}
    assert server.body is not None
    assert server.body.is_closed


def test_the_lines_of_a_tar_are_the_same_wherever_it_is_split_in_two() -> None:
    data = tar(ROWS[:1])
    for position in range(len(data)):
        lines = TarLines("/errata.jsonl")
        found = [line for piece in (data[:position], data[position:]) for line in lines.feed(piece)]
        assert [json.loads(line) for line in found] == ROWS[:1], position


def test_a_dataset_without_its_library_says_what_to_install_before_anything_is_sent(
    session: Session, server: FakeErrata, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ImportError, match="pip install datasets; rows"):
        session.do(session.client.feedback.to_datasets())
    assert server.requests == []
