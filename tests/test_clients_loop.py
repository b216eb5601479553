"""The example in the client's folder does the whole loop: real model, training and gate, in this process."""

from __future__ import annotations

import runpy
import sys
from contextlib import closing
from pathlib import Path

import pytest
from served import FAST, on_a_port
from transformers.utils import logging

from align.config import GateConfig, TrainingConfig
from serve.aligner import Aligner
from serve.replica import Replica, transformers_engine
from serve.settings import AlignmentSettings, Settings

SCRIPT = Path(__file__).parent.parent / "clients" / "python" / "examples" / "loop.py"


def test_a_script_of_twenty_lines_asks_corrects_trains_and_asks_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    logging.disable_progress_bar()
    # Of the few corrections that a test has time for, a dozen are held out: what they show is known to a tenth at best.
    gate = GateConfig(min_items=4, min_general_items=4, num_resamples=100, max_coverage_drop=0.2)
    alignment = AlignmentSettings(
        min_corrections=1000, training=TrainingConfig(), gate=gate, held_out_share=0.3, poll_s=0.05
    )
    settings = Settings(state=tmp_path, rollout=FAST, alignment=alignment)
    aligner = Aligner(settings)
    with closing(Replica(settings, transformers_engine)) as replica, on_a_port(replica) as address:
        aligner.start()
        try:
            monkeypatch.setenv("ERRATA_BASE_URL", f"{address}/v1")
            monkeypatch.setattr(sys, "argv", [str(SCRIPT), "48"])
            runpy.run_path(str(SCRIPT), run_name="__main__")
        finally:
            aligner.stop()
    shown = capsys.readouterr()
    lines = [line for line in shown.out.splitlines() if not line.startswith("{")]  # beside the aligner's log
    assert "admitted  v0001" in shown.err
    assert [line.split()[0] for line in lines] == ["base", "v0001"]


def test_it_has_twenty_lines() -> None:
    code = SCRIPT.read_text().split('"""')[2]
    assert len([line for line in code.splitlines() if line.strip()]) == 20
