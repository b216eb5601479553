"""The `errata` command: serve, demonstrate, align, look at adapters, keep keys."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from align.errors import AlignError

from .errors import ServeError, SettingsError
from .settings import Settings

if TYPE_CHECKING:
    from align.state import Store

app = typer.Typer(
    name="errata",
    help="A model server for multimodal LLMs that learns from its corrections.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
adapters_app = typer.Typer(help="List, show, promote and roll back what was learned.", no_args_is_help=True)
keys_app = typer.Typer(help="Make, list and revoke API keys.", no_args_is_help=True)
app.add_typer(adapters_app, name="adapters")
app.add_typer(keys_app, name="keys")
console = Console()

Url = Annotated[str, typer.Option(help="Address of the server.", envvar="ERRATA_BASE_URL")]
ApiKey = Annotated[
    str, typer.Option(help="A key with the admin scope, if the server has keys.", envvar="ERRATA_API_KEY")
]
State = Annotated[Path, typer.Option(help="Folder of the database and the blobs.")]
DEFAULT_URL = "http://127.0.0.1:8000/v1"


@app.command()
def up(
    model: Annotated[
        str | None, typer.Option(help="Folder or Hugging Face id; the embedded model by default.")
    ] = None,
    model_name: Annotated[
        str | None, typer.Option(help="What requests call it; by default from --model.")
    ] = None,
    host: Annotated[str | None, typer.Option(help="Beyond loopback, keys are needed.")] = None,
    port: Annotated[int | None, typer.Option()] = None,
    state: Annotated[Path | None, typer.Option(help="Folder of everything that must survive.")] = None,
    replicas: Annotated[int | None, typer.Option(help="Model servers.")] = None,
    min_corrections: Annotated[
        int | None, typer.Option(help="New corrections that start a run by themselves.")
    ] = None,
    config: Annotated[Path | None, typer.Option(help="JSON file of settings; options win over it.")] = None,
) -> None:
    """Serve on this machine until Ctrl+C."""
    from . import launch

    given = {
        "model": model,
        "model_name": model_name or (Path(model).resolve().name if model else None),
        "host": host,
        "port": port,
        "state": state,
        "num_replicas": replicas,
    }
    settings = launch.absolute(_settings(config, given, min_corrections))
    console.print(
        f"Starting {settings.model_name} with {settings.num_replicas} replica(s), state in {settings.state}"
    )
    with launch.running(settings):
        address = f"http://{settings.host}:{settings.port}"
        console.print(f"[bold green]Ready[/] {address}/v1   (docs: {address}/docs, Ctrl+C ends)")
        launch.wait_for_signal()
        console.print("Shutting down ...")


@app.command()
def align(
    url: Url = DEFAULT_URL,
    api_key: ApiKey = "none",
    wait: Annotated[bool, typer.Option(help="Follow the run to its end.")] = True,
) -> None:
    """Train on the corrections so far, judge the result, and serve it if it is better."""
    from errata import Errata

    with Errata(base_url=url, api_key=api_key) as client:
        run = client.alignments.create()
        console.print(f"run {run.id}: {run.status}")
        if not wait:
            return
        with console.status("waiting for the aligner") as status:
            run = client.alignments.wait(run.id, on_progress=lambda now: status.update(_progress(now)))
    console.print(f"run {run.id}: [bold]{run.status}[/] {run.adapter or ''} {escape(run.reason or '')}")
    if run.status == "failed":
        raise typer.Exit(1)


def _progress(run: Any) -> str:
    progress = run.progress or {}
    steps = f" step {progress['step']:.0f}/{progress['num_steps']:.0f}" if "num_steps" in progress else ""
    return f"{run.status}{steps}"


@app.command()
def demo(
    corrections: Annotated[int, typer.Option(min=40, help="How many corrections the annotators make.")] = 400,
    seed: Annotated[int, typer.Option(min=0, help="Seeds the scenes, the sampling and the training.")] = 0,
    scenes: Annotated[int, typer.Option(min=20, help="Held-out scenes, before and after.")] = 300,
    replicas: Annotated[int | None, typer.Option(help="2 where memory allows, else 1.")] = None,
    port: Annotated[int, typer.Option(help="0: a free one.")] = 0,
    output: Annotated[Path, typer.Option(help="Folder for demo.json and demo.png.")] = Path(),
    exit: Annotated[bool, typer.Option("--exit", help="Stop the server at the end.")] = False,
) -> None:
    """The whole loop on the embedded model, over HTTP: chat, correct, align, gate, swap; before and after."""
    from .demo.story import Plan, tell

    if not tell(Plan(corrections, seed, scenes, replicas, port, output, exit), console):
        raise typer.Exit(1)


@adapters_app.command("list")
def list_adapters(url: Url = DEFAULT_URL, api_key: ApiKey = "none") -> None:
    """All versions, newest first, and which one is live."""
    from errata import Errata

    with Errata(base_url=url, api_key=api_key) as client:
        adapters = client.adapters.list()
    table = Table("version", "status", "digest", "run", "pairs")
    for adapter in adapters.data:
        is_live = adapter.version == adapters.in_force.live
        training = (adapter.report or {}).get("training", {})
        table.add_row(
            f"[bold green]{adapter.version} (live)[/]" if is_live else adapter.version,
            adapter.status,
            adapter.digest[:12],
            adapter.run_id,
            str(training.get("num_pairs", "")),
        )
    console.print(table)
    if adapters.in_force.live == "base":
        console.print("The base model is live.")


@adapters_app.command("show")
def show_adapter(version: str, url: Url = DEFAULT_URL, api_key: ApiKey = "none") -> None:
    """One version with the gate's report."""
    from errata import Errata

    with Errata(base_url=url, api_key=api_key) as client:
        adapter = client.adapters.get(version)
    console.print_json(json.dumps(adapter.model_dump(mode="json")))


@adapters_app.command("promote")
def promote_adapter(version: str, url: Url = DEFAULT_URL, api_key: ApiKey = "none") -> None:
    """Serve an admitted version (or `base`) to everyone."""
    from errata import Errata

    with Errata(base_url=url, api_key=api_key) as client:
        rollout = client.adapters.promote(version)
    console.print(f"generation {rollout.generation}: {rollout.live}, {rollout.phase}")


@adapters_app.command("rollback")
def rollback_adapter(url: Url = DEFAULT_URL, api_key: ApiKey = "none") -> None:
    """Serve the version that was live before this one."""
    from errata import Errata

    with Errata(base_url=url, api_key=api_key) as client:
        rollout = client.adapters.rollback()
    console.print(f"generation {rollout.generation}: {rollout.live}, {rollout.phase}")


@keys_app.command("create")
def create_key(
    name: Annotated[str, typer.Option(help="Whose key it is.")] = "default",
    scope: Annotated[list[str] | None, typer.Option(help="chat, feedback, admin; may be repeated.")] = None,
    state: State = Path(".errata"),
) -> None:
    """Make a key and show its secret, once."""
    from align.state import Store

    store = Store(Settings(state=state).database_url)
    key, secret = store.keys.create(name, scope or ["chat", "feedback"])
    store.close()
    console.print(f"{key.id}  {', '.join(key.scopes)}")
    console.print(secret, style="bold", markup=False, soft_wrap=True)  # whole, however narrow the terminal
    console.print("Keep it: it is not shown again.")


@keys_app.command("list")
def list_keys(state: State = Path(".errata")) -> None:
    """The keys that are in use."""
    store = _store(state)
    table = Table("id", "name", "scopes")
    for key in store.keys.active():
        table.add_row(key.id, escape(key.name), ", ".join(key.scopes))
    store.close()
    console.print(table)


@keys_app.command("revoke")
def revoke_key(key_id: str, state: State = Path(".errata")) -> None:
    """End a key; servers notice within seconds."""
    store = _store(state)
    try:
        store.keys.revoke(key_id)
    finally:
        store.close()
    console.print(f"{key_id} is revoked")


def _store(state: Path) -> Store:
    """One that is there: a mistyped folder must not look like a server without keys."""
    from align.state import Store

    if not (state / "errata.db").is_file():
        raise SettingsError(f"there is no server's state in {state}; name its folder with --state")
    return Store(Settings(state=state).database_url)


def _settings(config: Path | None, given: dict[str, Any], min_corrections: int | None) -> Settings:
    try:
        values = json.loads(config.read_text()) if config is not None else {}
    except (OSError, ValueError) as error:
        raise SettingsError(f"cannot read {config}: {error}") from error
    if not isinstance(values, dict) or not isinstance(values.get("alignment", {}), dict):
        raise SettingsError(f"{config} must hold one JSON object of settings")
    values |= {name: value for name, value in given.items() if value is not None}
    if min_corrections is not None:
        values["alignment"] = {**values.get("alignment", {}), "min_corrections": min_corrections}
    return Settings.model_validate(values)


def main() -> None:
    """The outermost loop: what went wrong is said in one line, with what to do, never as a traceback."""
    from openai import APIConnectionError, APIStatusError, OpenAIError

    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)  # "Ready" is to be seen in a log file at once
    try:
        app()
    except APIConnectionError as error:
        address = error.request.url.copy_with(path="/")
        _complain(
            f"no server answers at {address}: start one with `errata up`, or name its address with --url"
        )
    except APIStatusError as error:
        detail = error.body.get("message") if isinstance(error.body, dict) else None
        hint = "; set ERRATA_API_KEY or --api-key" if error.status_code == 401 else ""
        _complain(f"{detail or error.message}{hint}")
    except (AlignError, ServeError, OpenAIError) as error:
        _complain(str(error))
    except ValidationError as error:
        _complain(
            *(f"setting {'.'.join(map(str, problem['loc']))}: {problem['msg']}" for problem in error.errors())
        )


def _complain(*problems: str) -> NoReturn:
    for problem in problems:
        Console(stderr=True).print(f"[bold red]errata:[/] {escape(problem)}", highlight=False, soft_wrap=True)
    sys.exit(2)
