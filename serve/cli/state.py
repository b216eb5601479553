"""The state's folder as commands use it that need no server."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import SettingsError

if TYPE_CHECKING:
    from pathlib import Path

    from align.state import Store


def existing_store(state: Path) -> Store:
    """One that is there: a mistyped folder must not look like a server that has nothing."""
    from align.state import Store

    from ..settings import Settings

    if not (state / "errata.db").is_file():
        raise SettingsError(f"there is no server's state in {state}; name its folder with --state")
    return Store(Settings(state=state).database_url)
