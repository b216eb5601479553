from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from benchmarks import long_prompts


def test_a_round_tells_of_each_size_and_compares_it_with_the_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "figures.json"
    monkeypatch.setattr(sys, "argv", ["long_prompts", "--quick", "--json", str(file)])
    long_prompts.main()
    report = json.loads(file.read_text())
    rounds = {one["size"]: one for one in report["rounds"]}
    assert list(rounds) == ["256", "1024", "whole"]
    for size in ("256", "1024"):
        ratio = rounds[size]["longest_gap_s"] / rounds["whole"]["longest_gap_s"]
        assert report["longest_gap_over_whole"][size] == dict.fromkeys(
            ("median", "low", "high"), pytest.approx(ratio, abs=1e-3)
        )
    assert all(1024 < one["num_prompt_tokens"] < long_prompts.MODEL_LEN for one in rounds.values())
