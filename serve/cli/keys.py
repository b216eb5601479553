"""`errata keys`: works on the state itself, so that the first key can be made before a server runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from .options import AsJson, Config, StateOrConfig
from .output import console, print_json
from .server import read_settings
from .state import existing_store

if TYPE_CHECKING:
    from align.state import Key

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
    state: StateOrConfig = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Make a key and show its secret, once."""
    from align.state import Store

    store = Store(read_settings(config, {"state": state}, None).database_url)
    key, secret = store.keys.create(name, scope or ["chat", "feedback"], requests_per_minute, max_concurrent)
    store.close()
    if as_json:
        print_json({**_told(key), "secret": secret})
        return
    console.print(f"{key.id}  {', '.join(key.scopes)}")
    console.print(secret, style="bold", markup=False, soft_wrap=True)  # whole, however narrow the terminal
    console.print("Keep it: it is not shown again.")


@app.command("list")
def list_keys(state: StateOrConfig = None, config: Config = None, as_json: AsJson = False) -> None:
    """The keys that are in use."""
    store = existing_store(read_settings(config, {"state": state}, None))
    keys = store.keys.active()
    store.close()
    if as_json:
        print_json({"object": "list", "data": [_told(key) for key in keys]})
        return
    table = Table("id", "name", "scopes", "limits")
    table.columns[0].no_wrap = True
    for key in keys:
        table.add_row(key.id, escape(key.name), ", ".join(key.scopes), _limits(key))
    console.print(table)


@app.command("revoke-tokens")
def revoke_tokens(state: StateOrConfig = None, config: Config = None, as_json: AsJson = False) -> None:
    """End every feedback token that was given to browsers, at once; keys stay as they are."""
    from ..api.feedback_token import SECRET

    store = existing_store(read_settings(config, {"state": state}, None))
    store.secrets.rotate(SECRET)
    store.close()
    if as_json:
        print_json({"revoked": "all feedback tokens"})
    else:
        console.print("all feedback tokens are revoked")


def _told(key: Key) -> dict[str, Any]:
    """All but the secret, of which only a hash is kept."""
    return {
        "id": key.id,
        "name": key.name,
        "scopes": list(key.scopes),
        "requests_per_minute": key.requests_per_minute,
        "max_concurrent": key.max_concurrent,
    }


def _limits(key: Key) -> str:
    limits = ((key.requests_per_minute, "a minute"), (key.max_concurrent, "at once"))
    return ", ".join(f"{number} {unit}" for number, unit in limits if number is not None)


@app.command("revoke")
def revoke_key(
    key_id: str, state: StateOrConfig = None, config: Config = None, as_json: AsJson = False
) -> None:
    """End a key; servers notice within seconds."""
    store = existing_store(read_settings(config, {"state": state}, None))
    try:
        store.keys.revoke(key_id)
    finally:
        store.close()
    if as_json:
        print_json({"revoked": key_id})
    else:
        console.print(f"{key_id} is revoked")
