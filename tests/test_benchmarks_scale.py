"""The benchmark of scale on a few rows: the store that it fills is one that the code understands."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path

import pytest
from postgresql_server import PostgreSQLServer
from sqlalchemy import inspect, text

from align.state import Store
from align.state.wanted import Wanted
from benchmarks.scale import __main__ as scale
from benchmarks.scale.filling import add_history, answer_id, correction_id, fill
from benchmarks.scale.polling import poll
from benchmarks.scale.queries import time_queries

NUM_ANSWERS = 2_000
NOW = 1.7e9


@pytest.mark.every_database
def test_a_filled_store_is_as_one_that_was_used(database_url: str) -> None:
    filled = fill(database_url, NUM_ANSWERS, NOW)
    with closing(Store(database_url)) as store:
        add_history(store, filled)
        first, last = store.responses.get(answer_id(1)), store.responses.get(answer_id(NUM_ANSWERS))
        assert (first.adapter, first.token_ids[0], last.adapter) == ("base", 1000, "v10019")
        assert first.created < last.created == pytest.approx(NOW)
        assert store.corrections.count_by_status() == {"accepted": 200}
        (newest, about), *_ = store.corrections.matching(Wanted(), 1)
        assert (newest.id, about.id) == (correction_id(200), answer_id(NUM_ANSWERS))
        assert len(store.corrections.origins()) == 200
        assert store.runs.learned_up_to() == store.corrections.last_sequence() == 200
        assert store.corrections.count_after(store.runs.learned_up_to()) == 0
        with store.database.read() as connection:
            links = connection.execute(text("SELECT count(*) FROM response_images")).scalar_one()
        assert links == NUM_ANSWERS


def test_a_filled_postgresql_has_every_index_of_one_that_was_never_filled(
    postgresql: PostgreSQLServer,
) -> None:
    indexes = []
    for is_filled in (False, True):
        url = postgresql.new_database()
        if is_filled:
            fill(url, 10, NOW)
        with closing(Store(url)) as store:
            looked_at = inspect(store.database.engine)
            indexes.append(
                {
                    index["name"]
                    for table in looked_at.get_table_names()
                    for index in looked_at.get_indexes(table)
                }
            )
        postgresql.drop(url)
    assert indexes[0] == indexes[1]


@pytest.mark.every_database
def test_every_query_is_timed(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.scale.queries.MAX_REPEATS", 2)
    filled = fill(database_url, NUM_ANSWERS, NOW)
    asked: list[str] = []
    with closing(Store(database_url)) as store:
        add_history(store, filled)
        timings = time_queries(store, filled, asked.append)
    assert [timing.name for timing in timings] == asked
    assert len(set(asked)) == len(asked) > 20
    assert all(1 <= timing.repeats <= 2 and 0 < timing.p50_ms <= timing.p99_ms for timing in timings)


def test_replicas_poll_and_report(postgresql: PostgreSQLServer) -> None:
    url = postgresql.new_database()
    polling = poll(url, num_replicas=3, poll_s=0.01, seconds=5.0, server=postgresql.pid)
    assert (polling.replicas, polling.wanted_per_s) == (3, 300)
    assert polling.polls_per_s > 0
    assert 0 < polling.p50_ms <= polling.p99_ms
    with closing(Store(url)) as store:
        assert {replica.id for replica in store.replicas.alive(3600.0)} <= {f"replica-{n}" for n in range(3)}
    postgresql.drop(url)


def test_a_poll_that_fails_ends_the_benchmark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: object) -> None:
        raise RuntimeError("the database is away")

    monkeypatch.setattr("align.state.rollouts.Rollouts.desired", fail)
    with pytest.raises(RuntimeError, match="the database is away"):
        poll(f"sqlite:///{tmp_path}/errata.db", num_replicas=2, poll_s=0.01, seconds=30.0)


def test_the_committed_figures_are_those_of_the_benchmark() -> None:
    """What `docs/scale.md` quotes."""
    report = json.loads((Path(__file__).parents[1] / "benchmarks/results/scale.json").read_text())
    assert set(report) == {"machine", "date", "polling", "sqlite", "postgresql"}
    assert [(level["replicas"], level["poll_s"]) for level in report["polling"]] == list(scale.WHOLE)
