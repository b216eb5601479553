"""`errata backup` and `errata restore`: both work on the state itself, a backup beside a server that runs."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .moments import moment
from .options import AsJson, Config, StateOrConfig
from .output import console, print_json
from .server import read_settings
from .state import existing_store

if TYPE_CHECKING:
    from align.backup import Backup


def backup(
    file: Annotated[Path, typer.Argument(help="Where it is written; an older one there is replaced.")],
    state: StateOrConfig = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Write the whole state into one file: rows as of one moment, images and adapters. A server may run meanwhile.

    It holds the hashes of keys and what feedback tokens are signed with: only you may read the file.
    """
    from align.backup import back_up
    from align.state import Blobs

    settings = read_settings(config, {"state": state}, None)
    store = existing_store(settings)
    try:
        blobs = Blobs(settings.blobs_url, cache=settings.state / "cache")
        made = back_up(store.database, blobs, file)
    finally:
        store.close()
    _tell(made, as_json)


def restore(
    file: Annotated[Path, typer.Argument(help="What `errata backup` wrote.")],
    state: StateOrConfig = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Put a backup into an empty state, with no server on it: a new folder, or a new database and bucket."""
    from align.backup import restore as put_back
    from align.state import Blobs

    settings = read_settings(config, {"state": state}, None)
    settings.state.mkdir(parents=True, exist_ok=True)
    blobs = Blobs(settings.blobs_url, cache=settings.state / "cache")
    _tell(put_back(settings.database_url, blobs, file), as_json)


def _tell(made: Backup, as_json: bool) -> None:
    if as_json:
        print_json(asdict(made))
        return
    rows, missing = made.rows, f", {made.missing} of them not there any more" if made.missing else ""
    console.print(
        f"{rows['responses']:,} answers, {rows['corrections']:,} corrections, {made.images:,} images and "
        f"{made.adapters:,} adapters{missing}, as of {moment(made.created)}"
    )
