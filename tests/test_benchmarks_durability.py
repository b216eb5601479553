"""A 2xx is on disk: a server is killed, really and repeatedly, and whatever it had answered is there, once."""

from __future__ import annotations

from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from align.state import Correction
from align.state.corrections import Corrections
from align.state.insertions import Inserted
from align.state.responses import Responses
from benchmarks.durability.kills import Killer
from benchmarks.durability.server import serve
from benchmarks.durability.throughput import throughput

NUM_KILLS = 21


def test_kills_lose_no_answer_and_no_correction_and_repeats_double_none(tmp_path: Path) -> None:
    losses = Killer(tmp_path / "state").run(NUM_KILLS)
    assert losses.kills == losses.answers == NUM_KILLS
    assert losses.corrections + losses.cut_off == losses.repeats == NUM_KILLS * 2 // 3
    assert losses.corrections >= NUM_KILLS // 3
    assert (losses.answers_lost, losses.corrections_lost, losses.doubled) == (0, 0, 0)


def serve_forgetfully(state: Path, ready: Connection) -> None:
    """Answers before anything is written."""

    def add(_self: Corrections, correction: Correction, _inserted: Inserted | None = None) -> Correction:
        return correction

    Corrections.add = add  # type: ignore[method-assign]  # that is the fault
    serve(state, ready)


def serve_answers_unrecorded(state: Path, ready: Connection) -> None:
    Responses.add = lambda *_: None  # type: ignore[method-assign]  # that is the fault
    serve(state, ready)


def test_a_server_that_answers_too_early_is_found_out(tmp_path: Path) -> None:
    losses = Killer(tmp_path / "state", serve=serve_forgetfully).run(2)
    assert (losses.corrections, losses.corrections_lost) == (1, 1)
    losses = Killer(tmp_path / "unrecorded", serve=serve_answers_unrecorded).run(1)
    assert (losses.answers, losses.answers_lost) == (1, 1)


@pytest.mark.every_database
def test_every_record_is_stored_in_both_ways_of_writing(database_url: str) -> None:
    figures = throughput(database_url, num_records=20, num_threads=4, num_repeats=2)
    assert [figure.record for figure in figures] == ["answers", "corrections"]
    assert all(figure.alone_per_s > 0 and figure.together_per_s > 0 for figure in figures)
    with pytest.raises(Exception, match=r"UNIQUE constraint failed|violates unique constraint"):
        throughput(database_url, num_records=20, num_threads=4, num_repeats=1)
