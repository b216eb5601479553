"""The state as commands use it that need no server."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import SettingsError

if TYPE_CHECKING:
    from align.state import Store

    from ..settings import Settings


def existing_store(settings: Settings) -> Store:
    """One that is there: a mistyped folder must not look like a server that has nothing."""
    from align.state import Store

    if settings.database_file is not None and not settings.database_file.is_file():
        raise SettingsError(f"there is no server's state in {settings.state}; name its folder with --state")
    return Store(settings.database_url)
