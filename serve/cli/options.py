"""What several commands ask for, and where they all write."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

console = Console()

Url = Annotated[str, typer.Option(help="Address of the server.", envvar="ERRATA_BASE_URL")]
ApiKey = Annotated[
    str, typer.Option(help="A key with the admin scope, if the server has keys.", envvar="ERRATA_API_KEY")
]
AsJson = Annotated[bool, typer.Option("--json", help="All of it, as the server answers.")]
State = Annotated[Path, typer.Option(help="Folder of the database and the blobs.")]
DEFAULT_URL = "http://127.0.0.1:8000/v1"
