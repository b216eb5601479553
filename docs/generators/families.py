"""The model families that the engine's tests compare with `generate`, from those tests."""

from __future__ import annotations

import ast
from pathlib import Path

TESTS = Path(__file__).parent.parent.parent / "tests" / "architectures.py"


def families() -> list[str]:
    """As transformers names them (`model_type`)."""
    for statement in ast.parse(TESTS.read_text()).body:
        if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == "ARCHITECTURES":
            assert isinstance(statement.value, ast.Dict)
            return [str(key.value) for key in statement.value.keys if isinstance(key, ast.Constant)]
    raise LookupError(f"{TESTS} names no ARCHITECTURES")


def listed() -> str:
    return ", ".join(f"`{family}`" for family in families())
