"""A file of JSON objects, one a line."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


class Lines:
    def __init__(self, path: Path) -> None:
        self._file = path.open("w", encoding="ascii")

    def write(self, row: Mapping[str, Any]) -> None:
        # escaped, because some readers end a line at characters like U+2028
        self._file.write(json.dumps(row) + "\n")

    def close(self) -> None:
        self._file.close()
