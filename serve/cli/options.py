"""What several commands ask for."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

DEFAULT_URL = "http://127.0.0.1:8000/v1"

Url = Annotated[
    str, typer.Option(help="Address of the server, with or without /v1.", envvar="ERRATA_BASE_URL")
]
Key = Annotated[
    str,
    typer.Option(
        help="An API key with the scope that the command needs, if the server has keys.",
        envvar="ERRATA_API_KEY",
    ),
]
AsJson = Annotated[
    bool, typer.Option("--json", help="The result as one JSON document; all else goes to standard error.")
]
StateOrConfig = Annotated[Path | None, typer.Option("--state", help="Folder of the database and the blobs.")]
Config = Annotated[
    Path | None, typer.Option(help="JSON file of settings, the server's own; options win over it.")
]
