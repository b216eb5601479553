"""`errata keys`: works on the state's folder itself, so that the first key can be made before a server runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from align.state.keys import Key

from ..settings import Settings
from .options import State, console
from .state import existing_store

app = typer.Typer(help="Make, list and revoke API keys.", no_args_is_help=True)


@app.command("create")
def create_key(
    name: Annotated[str, typer.Option(help="Whose key it is.")] = "default",
    scope: Annotated[
        list[str] | None, typer.Option(help="chat, feedback, authors, admin; may be repeated.")
    ] = None,
    requests_per_minute: Annotated[
        int | None,
        typer.Option(min=1, help="Most requests a minute, of each replica; else the server's default."),
    ] = None,
    max_concurrent: Annotated[
        int | None,
        typer.Option(min=1, help="Most requests at once, of each replica; else the server's default."),
    ] = None,
    state: State = Path(".errata"),
) -> None:
    """Make a key and show its secret, once."""
    from align.state import Store

    store = Store(Settings(state=state).database_url)
    key, secret = store.keys.create(name, scope or ["chat", "feedback"], requests_per_minute, max_concurrent)
    store.close()
    console.print(f"{key.id}  {', '.join(key.scopes)}")
    console.print(secret, style="bold", markup=False, soft_wrap=True)  # whole, however narrow the terminal
    console.print("Keep it: it is not shown again.")


@app.command("list")
def list_keys(state: State = Path(".errata")) -> None:
    """The keys that are in use."""
    store = existing_store(Settings(state=state))
    table = Table("id", "name", "scopes", "limits")
    table.columns[0].no_wrap = True
    for key in store.keys.active():
        table.add_row(key.id, escape(key.name), ", ".join(key.scopes), _limits(key))
    store.close()
    console.print(table)


@app.command("revoke-tokens")
def revoke_tokens(state: State = Path(".errata")) -> None:
    """End every feedback token that was given to browsers, at once; keys stay as they are."""
    from ..api.feedback_token import SECRET

    store = existing_store(Settings(state=state))
    store.secrets.rotate(SECRET)
    store.close()
    console.print("all feedback tokens are revoked")


def _limits(key: Key) -> str:
    limits = ((key.requests_per_minute, "a minute"), (key.max_concurrent, "at once"))
    return ", ".join(f"{number} {unit}" for number, unit in limits if number is not None)


@app.command("revoke")
def revoke_key(key_id: str, state: State = Path(".errata")) -> None:
    """End a key; servers notice within seconds."""
    store = existing_store(Settings(state=state))
    try:
        store.keys.revoke(key_id)
    finally:
        store.close()
    console.print(f"{key_id} is revoked")
