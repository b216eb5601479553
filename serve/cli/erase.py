"""`errata erase`: have a server forget a response, a correction, or all of one source, for good."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from .connection import connect
from .options import DEFAULT_URL, AsJson, Key, Url
from .output import console, print_answer

if TYPE_CHECKING:
    from errata import Erasure

app = typer.Typer(
    help="Delete for good: words, images, and what adapters have from them.", no_args_is_help=True
)

Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]


@app.command("response")
def erase_response(
    response_id: str, yes: Yes = False, as_json: AsJson = False, url: Url = DEFAULT_URL, key: Key = "none"
) -> None:
    """An answer with its question, its images and its corrections."""
    _confirm(f"response {response_id}", yes)
    with connect(url, key) as client:
        _tell(client.responses.delete(response_id), as_json)


@app.command("correction")
def erase_correction(
    correction_id: str, yes: Yes = False, as_json: AsJson = False, url: Url = DEFAULT_URL, key: Key = "none"
) -> None:
    """One correction; the answer that it corrects stays."""
    _confirm(f"correction {correction_id}", yes)
    with connect(url, key) as client:
        _tell(client.feedback.delete(correction_id), as_json)


@app.command("source")
def erase_source(
    source_id: str, yes: Yes = False, as_json: AsJson = False, url: Url = DEFAULT_URL, key: Key = "none"
) -> None:
    """All that was answered to a key or corrected with it; of KEY/AUTHOR, what that author corrected.

    The key itself stays valid: `errata keys revoke` ends it.
    """
    _confirm(f"all that came from {source_id}", yes)
    with connect(url, key) as client:
        _tell(client.sources.delete(source_id), as_json)


def _confirm(what: str, yes: bool) -> None:
    if not yes:
        typer.confirm(f"Erase {what} for good?", abort=True, err=True)


def _tell(erasure: Erasure, as_json: bool) -> None:
    if as_json:
        print_answer(erasure)
        return
    console.print(f"erased: {len(erasure.responses)} response(s), {len(erasure.corrections)} correction(s)")
    if erasure.tainted:
        console.print(f"tainted: {', '.join(erasure.tainted)}")
    if erasure.alignment is not None:
        console.print(f"run {erasure.alignment} without them is asked for")
