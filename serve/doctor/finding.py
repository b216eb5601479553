"""What a check found, as a plain value, and how a check is run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from align.errors import AlignError

from ..errors import ServeError

Standing = Literal["good", "warning", "problem"]


@dataclass(frozen=True)
class Finding:
    """`advice` says what to do where it is not good."""

    name: str
    standing: Standing
    found: str
    advice: str = ""


Check = Callable[[], Finding]


def good(name: str, found: str) -> Finding:
    return Finding(name, "good", found)


def warning(name: str, found: str, advice: str) -> Finding:
    return Finding(name, "warning", found, advice)


def problem(name: str, found: str, advice: str) -> Finding:
    return Finding(name, "problem", found, advice)


def found_by(name: str, check: Check) -> Finding:
    """What the check finds; that it failed is a finding, too."""
    try:
        return check()
    except (AlignError, ServeError) as error:  # their messages say what to do
        return problem(name, str(error), "")
    except Exception as error:  # one broken part must not hide what is wrong with the others
        return problem(name, f"cannot be looked at: {type(error).__name__}: {error}", "mend that first")
