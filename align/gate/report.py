"""What the gate found, as JSON for programs and a page for people. Holds numbers and ids, no word of a user's."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .measured import ItemMeasurement, Measurements
from .page import page
from .verdict import Verdict

JSON_NAME, PAGE_NAME = "report.json", "report.html"


def report_folder(run_id: str) -> str:
    """Its name among the blobs."""
    return f"reports/{run_id}"


@dataclass(frozen=True)
class Report:
    """One decision with all that it rests on. `manifest` is the run's, written before training."""

    run_id: str
    manifest: dict[str, Any]
    verdict: Verdict
    measurements: Measurements

    def to_json(self) -> dict[str, Any]:
        return {
            "run": self.run_id,
            "base": self.manifest.get("base"),
            "live": self.manifest.get("live"),
            **self.verdict.to_json(),
            "items": {
                "held_out": _items(self.measurements.held_out),
                "general": _items(self.measurements.general),
                "unfit": list(self.measurements.unfit),
            },
        }

    @property
    def _margin_gains(self) -> list[float]:
        return [item.candidate.margin - item.live.margin for item in self.measurements.held_out]

    def write(self, folder: Path) -> None:
        """Both files, over those of an attempt that died just here."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / JSON_NAME).write_text(json.dumps(without_nan(self.to_json()), allow_nan=False))
        (folder / PAGE_NAME).write_text(
            page(self.run_id, self.manifest, self.verdict, self._margin_gains), "utf-8"
        )


def without_nan(value: Any) -> Any:
    """JSON has no word for what is no number: null."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {name: without_nan(one) for name, one in value.items()}
    return [without_nan(one) for one in value] if isinstance(value, list | tuple) else value


def _items(items: Iterable[ItemMeasurement]) -> list[dict[str, Any]]:
    """Without their group, which may be a user's words."""
    return [{"id": item.id, "live": asdict(item.live), "candidate": asdict(item.candidate)} for item in items]
