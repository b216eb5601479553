"""A report says what was decided in numbers and plots, and not a word that a user wrote."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from align.config import AlignmentConfig, GateConfig
from align.gate import ItemMeasurement, Measured, Measurements, Truth, Verdict, decide
from align.gate.bootstrap import Interval
from align.gate.plots import Axis, Row, forest, ordered_bars
from align.gate.report import Report, report_folder, without_nan

WORDS = "what <script>alert('a user')</script> wrote"


def measurements(margin_gain: float) -> Measurements:
    live = Measured(0.9, 40, True, margin=0.5, corrected_logp=-1.0, truth=Truth(("object",), 0.8))
    items = tuple(
        ItemMeasurement(
            f"i{number}",
            f"{WORDS} {number}",
            replace(live, returned=(("object", number % 2 == 0),)),
            replace(live, margin=0.5 + margin_gain + number / 500, returned=(("object", False),)),
        )
        for number in range(30)
    )
    return Measurements(items, items, unfit=("i99",))


def report(margin_gain: float = 0.2) -> Report:
    found = measurements(margin_gain)
    manifest = {"base": "the/base", "live": "v0003", "config": AlignmentConfig().model_dump(mode="json")}
    return Report("run-1", manifest, decide(found, GateConfig()), found)


def page(one: Report, folder: Path) -> str:
    one.write(folder)
    return (folder / "report.html").read_text("utf-8")


def test_a_report_is_two_files_that_hold_no_users_words(tmp_path: Path) -> None:
    text = page(report(), tmp_path / "report")
    assert {path.name for path in (tmp_path / "report").iterdir()} == {"report.json", "report.html"}
    stored = (tmp_path / "report" / "report.json").read_text()
    for written in (text, stored):
        assert "script" not in written
        assert "a user" not in written
    assert report_folder("run-1") == "reports/run-1"


def test_the_json_holds_the_decision_and_every_number_that_it_rests_on(tmp_path: Path) -> None:
    page(report(), tmp_path / "report")
    stored = json.loads((tmp_path / "report" / "report.json").read_text())
    assert (stored["run"], stored["live"], stored["decision"]) == ("run-1", "v0003", "admitted")
    assert stored["comparisons"]["held_out.margin"]["change"]["estimate"] == pytest.approx(0.229)
    assert len(stored["items"]["held_out"]) == len(stored["items"]["general"]) == 30
    first = stored["items"]["held_out"][0]
    assert (first["id"], first["live"]["margin"], first["candidate"]["margin"]) == ("i0", 0.5, 0.7)
    assert first["live"]["truth"] == {"wrong": ["object"], "coverage": 0.8}
    assert stored["items"]["unfit"] == ["i99"]


def test_the_page_says_in_words_and_plots_what_was_decided(tmp_path: Path) -> None:
    text = page(report(), tmp_path / "report")
    assert "<title>Admitted: run-1</title>" in text
    assert "admitted: score margin +0.229 [" in text
    assert "30 held-out corrections and 30 uncorrected answers of the base; 1 more could not be read" in text
    assert "95%, paired, from 2000 bootstrap resamples of whole images, seed 0." in text
    assert len(re.findall("<figure>", text)) == 5
    assert text.count('class="badge met"') == sum(one.standing == "met" for one in report().verdict.findings)
    refused = page(report(-0.2), tmp_path / "refused")
    assert "<title>Refused: run-1</title>" in refused
    assert '<span class="badge failed">failed</span>' in refused


def test_the_page_is_well_formed_and_loads_nothing(tmp_path: Path) -> None:
    text = page(report(), tmp_path / "report")
    for drawing in re.findall(r"<svg.*?</svg>", text, flags=re.DOTALL):
        ElementTree.fromstring(drawing)
    assert "http" not in text
    assert re.findall(r"(?:src|href|url)\s*[=(]", text) == []


def test_a_candidate_that_could_not_be_measured_has_a_report_too(tmp_path: Path) -> None:
    reason = "refused: the candidate could not be measured: not done within 5 s & <more>"
    one = replace(report(), verdict=Verdict("refused", (reason,)), measurements=Measurements())
    text = page(one, tmp_path / "report")
    assert "could not be measured: not done within 5 s &amp; &lt;more&gt;" in text
    assert "<figure>" not in text
    assert json.loads((tmp_path / "report" / "report.json").read_text())["reasons"] == [reason]


def test_what_is_no_number_is_null_in_json() -> None:
    assert without_nan({"a": math.nan, "b": [math.inf, 1.5, "x"], "c": (None, True)}) == {
        "a": None,
        "b": [None, 1.5, "x"],
        "c": [None, True],
    }


def test_an_axis_maps_its_ends_with_a_little_room() -> None:
    axis = Axis.over([0.0, 10.0], 100.0, 210.0)
    assert (axis.low, axis.high) == (-0.5, 10.5)
    assert axis.at(0.0) == pytest.approx(105.0)
    assert axis.at(10.0) == pytest.approx(205.0)
    assert Axis.over([1.0, 1.0], 0.0, 100.0).at(1.0) == 50.0


def test_a_forest_plot_draws_each_interval_between_its_ends() -> None:
    row = Row("a < b", Interval(0.0, -1.0, 1.0), (2.0,), "open")
    drawing = ElementTree.fromstring(re.search("<svg.*</svg>", forest("t", [row], 0.0, str))[0])  # type: ignore[index]
    (line,) = [one for one in drawing.iter("line") if one.get("class") == "open"]
    (dot,) = drawing.iter("circle")
    (bound,) = [one for one in drawing.iter("line") if one.get("class") == "bound"]
    left, middle, right = float(line.attrib["x1"]), float(dot.attrib["cx"]), float(line.attrib["x2"])
    assert middle - left == pytest.approx(right - middle, abs=0.2)
    assert float(bound.attrib["x1"]) - right == pytest.approx(right - middle, abs=0.2)
    assert [text.text for text in drawing.iter("text")] == ["a < b", "-1.0", "2.0"]


def test_ordered_bars_rise_from_the_greatest_loss_to_the_greatest_gain() -> None:
    svg = re.search("<svg.*</svg>", ordered_bars("t", [3.0, -1.0, 1.0], str))[0]  # type: ignore[index]
    bars = list(ElementTree.fromstring(svg).iter("rect"))
    assert [bar.get("class") for bar in bars] == ["failed", "met", "met"]
    heights = [float(bar.attrib["height"]) for bar in bars]
    assert heights[0] == pytest.approx(heights[1], abs=0.2)
    assert heights[2] == pytest.approx(3 * heights[1], abs=0.4)
