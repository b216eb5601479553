"""`errata up` and `errata demo`: the commands that start a server."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import SettingsError
from .complaints import NO
from .options import AsJson
from .output import print_json, speaker

if TYPE_CHECKING:
    from ..engine.protocol import EngineSetup
    from ..settings import Settings


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
    log: Annotated[
        bool, typer.Option("--log", help="Print the log here, too: a JSON object a line.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Serve on this machine until Ctrl+C. With --json the document comes when the server is ready."""
    from .. import launch

    given = {
        "model": model,
        "model_name": model_name or named_after(model),
        "host": host,
        "port": port,
        "state": state,
        "num_replicas": replicas,
    }
    settings = launch.absolute(read_settings(config, given, min_corrections))
    say = speaker(as_json)
    say.print(
        f"Starting {settings.model_name} with {settings.num_replicas} replica(s), state in {settings.state}"
    )
    say.print(f"Logs in {settings.state / 'logs'}", soft_wrap=True)
    with launch.running(settings, (sys.stderr if as_json else sys.stdout) if log else None):
        address, setup = f"http://{settings.host}:{settings.port}", launch.engine_setup(settings)
        say.print(f"[bold green]Ready[/] {address}/v1   (docs: {address}/docs, Ctrl+C ends)")
        say.print(told(setup), highlight=False, soft_wrap=True)
        if as_json:
            print_json({"url": f"{address}/v1", "model": settings.model_name, "engine": asdict(setup)})
        launch.wait_for_signal()
        say.print("Shutting down ...")


def told(setup: EngineSetup) -> str:
    """What was chosen at the start, in a line."""
    return (
        f"{setup.device}, {setup.dtype}, {setup.attention} attention, {setup.num_threads} thread(s); "
        f"{setup.num_sequences} answers at once of up to {setup.max_model_len} tokens, prompt included, in "
        f"{setup.cache_bytes / 2**20:.0f} MiB of keys and values; "
        f"{setup.num_adapter_slots} adapters of up to rank {setup.max_rank}"
    )


def named_after(model: str | None) -> str | None:
    """What requests call a model for which no other name was given."""
    return Path(model).resolve().name if model else None


def read_settings(config: Path | None, given: dict[str, Any], min_corrections: int | None) -> Settings:
    """Of the file, with what was given as options in its place. Raises `SettingsError`, `ValidationError`."""
    from ..settings import Settings

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


def demo(
    corrections: Annotated[int, typer.Option(min=40, help="How many corrections the annotators make.")] = 400,
    seed: Annotated[int, typer.Option(min=0, help="Seeds the scenes, the sampling and the training.")] = 0,
    scenes: Annotated[int, typer.Option(min=20, help="Held-out scenes, before and after.")] = 300,
    replicas: Annotated[int | None, typer.Option(help="2 where memory allows, else 1.")] = None,
    port: Annotated[int, typer.Option(help="0: a free one.")] = 0,
    output: Annotated[Path, typer.Option(help="Folder for demo.json and demo.png.")] = Path(),
    exit: Annotated[bool, typer.Option("--exit", help="Stop the server at the end.")] = False,
    as_json: AsJson = False,
) -> None:
    """The whole loop on the embedded model, over HTTP: chat, correct, align, gate, swap; before and after.

    Exits with 1 where the gate did not admit what was learned. With --json the document comes when the server has
    stopped: give --exit as well.
    """
    from ..demo.story import Plan, tell

    is_admitted = tell(Plan(corrections, seed, scenes, replicas, port, output, exit), speaker(as_json))
    if as_json:
        print_json(json.loads((output / "demo.json").read_text()))
    if not is_admitted:
        raise typer.Exit(NO)
