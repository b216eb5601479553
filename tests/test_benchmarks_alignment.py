from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from align.config import TrainingConfig
from align.scenes import MODEL_PATH
from align.scenes.captions import caption
from align.scenes.score import CLAIM_KINDS
from align.scenes.world import Item, Scene
from benchmarks.alignment import __main__ as command
from benchmarks.alignment.answers import COLUMNS, Answers, counts
from benchmarks.alignment.cells import Cell, Cells, described
from benchmarks.alignment.figures import figures
from benchmarks.alignment.recipes import BASE, DEFAULT, SEARCH, TABLE, Recipe
from benchmarks.scenes import simulated_corrections

BEACH = Scene("beach", (Item("boat", "red", 0, 1), Item("house", "blue", 4, 2)))


def answers(*rows: dict[str, int], right: str = "") -> Answers:
    """One answer a row, columns that are not named being harmless; `right` has y or n for each yes/no question, all of
    them right if it is empty."""
    usual = {
        "covered": 1,
        "objects": 2,
        "mentions": 2,
        "words": 30,
        "absent_typical": 4,
        "absent_elsewhere": 10,
    }
    table = np.array([[{**usual, **row}.get(name, 0) for name in COLUMNS] for row in rows])
    replies = list(right or "y" * len(rows))
    return Answers(table, np.isin(replies, ["y", "n"]), np.isin(replies, ["y"]))


def test_an_answer_is_counted_by_what_it_claims_and_leaves_out() -> None:
    text = "The picture shows a beach scene. There is a red boat at the top left. There is a white sun in the middle."
    row = dict(zip(COLUMNS, counts(text, BEACH), strict=True))
    assert {kind: row[kind] for kind in CLAIM_KINDS if row[kind]} == {"object": 1}
    assert (row["covered"], row["objects"], row["mentions"], row["unreadable"]) == (1, 2, 2, 0)
    # of the beach's five kinds the boat is there; of the eleven others the house
    assert (row["invented_typical"], row["absent_typical"]) == (1, 4)
    assert (row["invented_elsewhere"], row["absent_elsewhere"]) == (0, 10)


def test_a_true_description_has_nothing_wrong_and_everything_covered() -> None:
    row = dict(zip(COLUMNS, counts(caption(BEACH, random.Random(1)), BEACH), strict=True))
    assert sum(row[kind] for kind in CLAIM_KINDS) == row["unreadable"] == row["invented_typical"] == 0
    assert row["covered"] == row["objects"] == 2


def test_figures_are_those_worked_by_hand() -> None:
    one = answers(
        {"object": 2, "invented_typical": 1}, {"colour": 1, "words": 50}, {}, {"covered": 2}, right="yyn "
    )
    result = figures([one])
    assert result["num_seeds"] == 1
    assert result["hallucinated"] == 0.5
    assert result["coverage"] == pytest.approx((3 * 0.5 + 1) / 4, abs=1e-4)
    assert result["words"] == 35
    assert result["chair_i"] == 0.25
    assert result["over_generalisation"] == pytest.approx(100 * 1 / 16, abs=1e-3)
    assert result["yes_no_accuracy"] == pytest.approx(2 / 3, abs=1e-4)
    assert (result["segments"]["object"], result["segments"]["colour"]) == (50, 25)
    low, high = result["hallucinated_interval"]
    assert 0 <= low < 0.5 < high <= 1


def test_ratios_to_the_base_are_paired_by_scene() -> None:
    base = answers({"object": 1}, {"object": 1}, {}, {})
    same = figures([base], base)
    assert same["hallucinated_of_base"] == 1
    assert same["hallucinated_of_base_interval"] == [1, 1]
    assert figures([answers({"object": 1}, {}, {}, {})], base)["hallucinated_of_base"] == 0.5


def test_intervals_hold_the_spread_over_seeds() -> None:
    always, never = answers(*[{"object": 1}] * 50), answers(*[{}] * 50)
    result = figures([always, never, always])
    assert result["hallucinated"] == pytest.approx(2 / 3, abs=1e-4)
    assert result["hallucinated_interval"] == [0, 1]


def test_the_ceiling_learns_a_true_description_of_the_same_scene() -> None:
    ((example, scene),) = simulated_corrections(str(MODEL_PATH), 1)
    told = described(example, scene)
    assert told.served_text == example.served_text
    row = dict(zip(COLUMNS, counts(told.corrected_text, scene), strict=True))
    assert sum(row[kind] for kind in CLAIM_KINDS) == 0
    assert row["covered"] == row["objects"]


def test_a_cell_is_found_by_what_determines_it_and_by_nothing_else(tmp_path: Path) -> None:
    cells = Cells(str(MODEL_PATH), tmp_path, 1, 4)
    cell = Cell(BASE, 0, 0, "development", 4)
    assert cells.known(cell) is None
    made = cells.outcome(cell)
    found = Cells(str(MODEL_PATH), tmp_path, 2, 8).known(cell)
    assert found is not None
    assert np.array_equal(found.answers.counts, made.answers.counts)
    assert len(list(tmp_path.iterdir())) == 1
    for other in (replace(cell, split="test"), replace(cell, num_scenes=5), replace(cell, seed=1)):
        assert cells.known(other) is None


def test_settings_of_where_a_run_runs_do_not_make_it_another_cell() -> None:
    cells = Cells(str(MODEL_PATH), Path("cells"), 1, 4)

    def path(**changes: object) -> Path:
        config = TrainingConfig.model_validate(TrainingConfig().model_dump() | changes)
        return cells._path(Cell(Recipe("one", "one", config), 200, 0, "test", 1024))

    assert path(num_threads=2, num_workers=4, micro_batch_size=2) == path()
    assert path(learning_rate=1e-5) != path()
    assert path(num_epochs=9) != path()


def test_every_recipe_has_a_name_of_its_own_and_the_table_holds_the_default() -> None:
    for recipes in (TABLE, SEARCH):
        assert len({recipe.name for recipe in recipes}) == len(recipes)
    assert DEFAULT in TABLE
    assert DEFAULT.config == TrainingConfig()


def test_the_command_goes_on_with_what_is_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    few = ["--scenes", "8", "--seeds", "1", "--only", "sft", "--cells", str(tmp_path / "cells")]
    with pytest.raises(SystemExit, match="without --show"):
        command.main([*few, "--show"])
    command.main([*few, "--corrections", "3"])
    assert "3 corrections" in capsys.readouterr().err
    json_file, picture = tmp_path / "figures.json", tmp_path / "figures.png"
    more = ["--corrections", "3", "6", "--json", str(json_file), "--plot", str(picture)]
    command.main([*few, *more])
    done = capsys.readouterr().err
    assert "6 corrections" in done
    assert "3 corrections" not in done
    report = json.loads(json_file.read_text())
    assert report["base"].keys() >= {"hallucinated", "hallucinated_interval", "coverage", "coverage_interval"}
    assert report["sft"].keys() == {"3", "6"}
    assert report["sft"]["6"]["num_seeds"] == 1
    assert picture.read_bytes().startswith(b"\x89PNG")
