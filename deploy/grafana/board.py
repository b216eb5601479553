"""`python -m deploy.grafana.board` writes the panels as Grafana's board, and for the page, which has no Prometheus."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from .panels import GENERATION, ROWS, Panel

FILE = Path(__file__).parent / "errata.json"
FOR_THE_PAGE = Path(__file__).parent.parent.parent / "clients" / "web" / "loop" / "board" / "panels.js"
PAGE_WORDS = (
    "/** The board's panels, as `python -m deploy.grafana.board` writes them; "
    "what to change is deploy/grafana/panels.py. */"
)
COLUMNS, HEIGHT = 3, 8  # Grafana's grid is 24 wide
SWITCHES = f"changes({GENERATION.promql}[$__interval:]) > 0"


def board() -> dict[str, Any]:
    panels: list[dict[str, Any]] = []
    y = 0
    for title, row in ROWS.items():
        panels.append(
            {"type": "row", "title": title, "gridPos": {"x": 0, "y": y, "w": 24, "h": 1}, "panels": []}
        )
        y += 1
        for index, one in enumerate(row):
            width = 24 // COLUMNS
            place = {
                "x": index % COLUMNS * width,
                "y": y + index // COLUMNS * HEIGHT,
                "w": width,
                "h": HEIGHT,
            }
            panels.append(_panel(one, place))
        y += -(-len(row) // COLUMNS) * HEIGHT
    for number, one_panel in enumerate(panels, start=1):
        one_panel["id"] = number
    return {
        "uid": "errata",
        "title": "Errata",
        "schemaVersion": 39,
        "tags": ["errata"],
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "templating": {"list": [_source(), _job()]},
        "annotations": {"list": [_annotation()]},
        "panels": panels,
    }


SOURCE = {"type": "prometheus", "uid": "$source"}


def _panel(one: Panel, place: dict[str, int]) -> dict[str, Any]:
    return {
        "type": "stat" if one.is_stat else "timeseries",
        "title": one.title,
        "description": one.description,
        "gridPos": place,
        "datasource": SOURCE,
        "fieldConfig": {"defaults": {"unit": one.unit}, "overrides": []},
        "targets": [
            {
                "refId": chr(ord("A") + index),
                "datasource": SOURCE,
                "expr": query.promql,
                "legendFormat": legend,
            }
            for index, (query, legend) in enumerate(one.queries)
        ],
        "options": {"textMode": "value_and_name"} if one.is_stat else {"tooltip": {"mode": "multi"}},
    }


def _source() -> dict[str, Any]:
    return {"name": "source", "type": "datasource", "query": "prometheus", "label": "Prometheus"}


def _job() -> dict[str, Any]:
    return {
        "name": "job",
        "type": "query",
        "label": "Server",
        "datasource": SOURCE,
        "query": {"query": "label_values(errata_replicas, job)", "refId": "job"},
        "refresh": 2,
    }


def _annotation() -> dict[str, Any]:
    """A line through all panels where the version that answers changed."""
    return {
        "name": "Switch",
        "datasource": SOURCE,
        "enable": True,
        "iconColor": "orange",
        "expr": SWITCHES,
        "titleFormat": "another version answers",
    }


def text() -> str:
    return json.dumps(board(), indent=1) + "\n"


def page_text() -> str:
    """A module, so that the page asks for nothing more; a panel a line."""
    rows = []
    for title, row in ROWS.items():
        panels = "".join(f"      {json.dumps(_plain(one))},\n" for one in row)
        rows.append(f'  {{\n    "title": "{title}",\n    "panels": [\n{panels}    ],\n  }},\n')
    generation = json.dumps(GENERATION.plain)
    return f"{PAGE_WORDS}\n\nexport const ROWS = [\n{''.join(rows)}];\n\nexport const GENERATION = {generation};\n"


def _plain(one: Panel) -> dict[str, Any]:
    said: dict[str, Any] = {"title": one.title, "unit": one.unit}
    said |= {"words": one.description} if one.description else {}
    said |= {"is_stat": True} if one.is_stat else {}
    return said | {"queries": [{"legend": legend, **query.plain} for query, legend in one.queries]}


if __name__ == "__main__":
    FILE.write_text(text())
    FOR_THE_PAGE.write_text(page_text())
