"""The board on the page: every panel in its row, drawn from a live server; and its arithmetic, worked by hand."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from browsing import chromium, needs_chromium, visit
from served import Served, listening, promote, publish, serving

from deploy.grafana.panels import ROWS

pytestmark = needs_chromium


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("served")
    with serving(folder / "state") as served:
        yield publish(served, folder)


@pytest.fixture(scope="module")
def address(served: Served) -> Iterator[str]:
    with listening(served) as address:
        yield address


@pytest.fixture
def quiet(browser: Any, address: str) -> Iterator[Any]:
    """A page that asks nothing, for the modules alone."""
    with visit(browser, f"{address}/#/chat") as page:
        yield page


IS_DRAWN = """(panel) => {
  const canvas = panel.querySelector("canvas");
  if (canvas === null) return false;
  const colour = getComputedStyle(panel).getPropertyValue("--focus").trim(); // which letters and grid have not
  const wanted = [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16));
  const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  const isWanted = (at) => data[at + 3] > 0 && wanted.every((part, index) => Math.abs(data[at + index] - part) < 16);
  return Array.from({ length: data.length / 4 }, (_, pixel) => 4 * pixel).some(isWanted);
}"""


def test_every_panel_of_the_board_is_in_its_row_and_drawn(browser: Any, served: Served, address: str) -> None:
    with visit(browser, f"{address}/#/loop") as page:
        rows = page.locator("errata-board details")
        rows.first.wait_for()
        assert rows.locator("summary").all_inner_texts() == list(ROWS)
        for row in rows.all()[1:]:
            row.locator("summary").click()
        service = rows.first.locator("errata-panel")
        service.first.get_by_text("nothing yet").wait_for()  # a rate needs a look before and one after
        served.respond()
        service.first.get_by_text("200").wait_for()
        for row, panels in zip(rows.all(), ROWS.values(), strict=True):
            assert row.locator("h4").all_inner_texts() == [panel.title for panel in panels]
        under_way = page.locator("errata-panel", has_text="Requests under way")
        page.wait_for_function(IS_DRAWN, arg=under_way.element_handle())
        answers = page.locator("errata-panel", has_text="Who answers")
        assert "live: base" in answers.locator("li").all_inner_texts()


def test_a_switch_is_marked_on_every_panel(browser: Any, served: Served, address: str) -> None:
    with visit(browser, f"{address}/#/loop") as page:
        answers = page.locator("errata-panel", has_text="Who answers")
        page.locator("summary", has_text="Adapters").click()
        answers.get_by_text("live: base").wait_for()
        promote(served, "v1")
        answers.get_by_text("live: v0001").wait_for()
        page.locator("errata-panel[data-switches='1']").nth(30).wait_for(state="attached")


def test_the_board_says_why_it_shows_nothing(browser: Any, address: str) -> None:
    with visit(browser, f"{address}/#/chat") as page:
        page.route("**/metrics", lambda route: route.fulfill(status=502, body="no"))
        page.goto(f"{address}/#/loop")
        page.get_by_text("The figures could not be read: the server answered 502").wait_for()


REQUESTS = "errata_requests_total"


def courses(page: Any, query: dict[str, Any], looks: list[tuple[float, str]]) -> dict[str, list[Any]]:
    """The lines of a panel with this query, after `looks` at pages of figures."""
    script = """async ([query, looks]) => {
      const { History } = await import("/web/loop/board/history.js");
      const legend = query.by?.map((by) => `{{${by}}}`).join() ?? "it";
      const panel = { title: "", unit: "", queries: [{ legend, ...query }] };
      const generation = { take: "max", metrics: ["errata_rollout_generation"], by: [] };
      const history = new History([{ title: "", panels: [panel] }], generation);
      for (const [at_s, text] of looks) history.look(text, at_s);
      return [history.course(panel).lines.map(({ label, values }) => [label, values]), history.switches];
    }"""
    lines, switches = page.evaluate(script, [query, looks])
    return {**dict(lines), "switches": switches}


def of(replica: str, metric: str = REQUESTS, **values: float) -> str:
    return "".join(
        f'{metric}{{status="{label.removeprefix("s")}",replica="{replica}"}} {value}\n'
        for label, value in values.items()
    )


def rate(by: tuple[str, ...] = (), window_s: int = 60, **where: str) -> dict[str, Any]:
    return {
        "take": "rate",
        "metrics": [REQUESTS],
        "by": list(by),
        "where": where,
        "window_s": window_s,
    }


def test_a_rate_is_of_all_replicas_though_they_begin_anew_come_and_miss_a_look(quiet: Any) -> None:
    looks = [
        (0.0, of("a", s200=100) + of("b", s200=1000)),
        (10.0, of("a", s200=110) + of("b", s200=1020)),  # 30 in 10 s
        (20.0, of("a", s200=5)),  # a began anew; b did not answer: 35 in 20 s
        (
            30.0,
            of("a", s200=5) + of("b", s200=1050) + of("c", s200=7),
        ),  # b's 30; nobody knows c's: 65 in 30 s
    ]
    values = courses(quiet, rate(), looks)[""]
    assert values[0] is None
    assert values[1:] == pytest.approx([3.0, 1.75, 65 / 30])


def test_a_rate_forgets_what_is_longer_ago_than_its_time(quiet: Any) -> None:
    looks = [(10.0 * number, of("a", s200=60 if number else 0)) for number in range(9)]
    values = courses(quiet, rate(), looks)[""]
    assert values[1:7] == pytest.approx([6, 3, 2, 1.5, 1.2, 1])
    assert values[7:] == [0, 0]


def test_a_status_that_was_not_there_is_counted_from_its_first_and_its_share_is_of_all(quiet: Any) -> None:
    query = {"take": "ratio", "part": rate(status="5.."), "whole": rate()}
    looks = [(0.0, of("a", s200=0)), (5.0, of("a", s200=3)), (10.0, of("a", s200=6, s503=2))]
    assert courses(quiet, query, looks)["it"] == [None, 0, pytest.approx(2 / 8)]


def test_a_quantile_is_what_prometheus_makes_of_the_buckets(quiet: Any) -> None:
    def buckets(*counts: int) -> str:
        limits = ("0.1", "1.0", "+Inf")
        return "".join(
            f'errata_x_seconds_bucket{{le="{le}",replica="a"}} {count}\n'
            for le, count in zip(limits, counts, strict=True)
        )

    of_buckets = {"take": "rate", "metrics": ["errata_x_seconds_bucket"], "by": ["le"], "window_s": 5}
    looks = [
        (0.0, buckets(0, 0, 0)),
        (5.0, buckets(10, 20, 20)),  # the 15th of 20: half of the way through the second bucket
        (10.0, buckets(10, 20, 20)),
        (15.0, buckets(10, 20, 30)),  # beyond the last limit: at least that
    ]
    found = courses(quiet, {"take": "quantile", "q": 0.75, "of": of_buckets}, looks)["it"]
    assert found == [None, pytest.approx(0.55), None, 1]


def test_the_store_s_figures_are_taken_once_and_replicas_summed(quiet: Any) -> None:
    looks = [
        (0.0, "errata_x 4\n" + of("a", "errata_y", s=1.5) + of("b", "errata_y", s=2) + "errata_y_other 9\n")
    ]
    newest = {"take": "max", "metrics": ["errata_x"], "by": []}
    assert courses(quiet, newest, looks)[""] == [4]
    assert courses(quiet, {**newest, "take": "sum", "metrics": ["errata_y"]}, looks)[""] == [3.5]
    each = {**newest, "metrics": ["errata_y"], "by": ["replica"]}
    assert courses(quiet, each, looks) == {"a": [1.5], "b": [2], "switches": []}


def test_the_change_of_a_gauge_may_be_less_than_nothing_and_does_not_count_what_was_there(quiet: Any) -> None:
    def corrections(**statuses: int) -> str:
        return "".join(
            f'errata_corrections{{status="{status}"}} {number}\n' for status, number in statuses.items()
        )

    change = {"take": "change", "metrics": ["errata_corrections"], "by": [], "window_s": 3600}
    looks = [
        (0.0, ""),  # not counted yet
        (5.0, corrections(accepted=500)),
        (10.0, corrections(accepted=502, rejected=1)),
        (15.0, corrections(accepted=400, rejected=1)),
    ]
    assert courses(quiet, change, looks)[""] == [None, None, 3, -99]


def test_a_pause_is_a_gap_and_a_switch_a_mark(quiet: Any) -> None:
    def generation(number: int) -> str:
        return f"errata_rollout_generation {number}\n"

    looks = [(0.0, generation(1)), (5.0, generation(2)), (100.0, generation(2)), (105.0, "")]
    newest = {"take": "max", "metrics": ["errata_rollout_generation"], "by": []}
    assert courses(quiet, newest, looks) == {"": [1, 2, None, 2, None], "switches": [5.0]}


def test_a_label_is_read_whatever_is_in_it(quiet: Any) -> None:
    name = 'a"b\\c\nd} 5'
    written = json.dumps(name)[1:-1]  # escaped as Prometheus does
    newest = {"take": "max", "metrics": ["errata_x"], "by": ["reason"]}
    looks = [
        (0.0, f'# HELP errata_x it\nerrata_x{{reason="{written}"}} 2.5e-1\nerrata_x{{reason="n"}} NaN\n')
    ]
    assert courses(quiet, newest, looks) == {name: [0.25], "switches": []}
