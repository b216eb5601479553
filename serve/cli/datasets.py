"""`errata import` and `errata export`: other trainers' files. Both work on the state itself, beside a server or not."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from align.formats.export_format import ExportFormat

from ..errors import SettingsError
from .complaints import NO
from .options import AsJson, Config, StateOrConfig
from .output import aside, console, print_json, speaker
from .server import named_after, read_settings
from .state import existing_store

if TYPE_CHECKING:
    from align.formats.preference import Failure, PreferenceFile
    from align.rendering import Renderer

    from ..settings import Settings


class ImportFormat(StrEnum):
    RLHF_V = "rlhf-v"
    LLAVA = "llava"


def import_file(
    file: Annotated[Path, typer.Argument(help="The dataset.")],
    format: Annotated[
        ImportFormat,
        typer.Option(
            help="rlhf-v: RLHF-V-Dataset's parquet file. llava: a JSON object with `chosen` and `rejected` a line."
        ),
    ],
    images: Annotated[
        Path | None, typer.Option(help="Where the rows' image paths start; by default beside FILE.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="The model that is to learn from them, as in `up`.")
    ] = None,
    state: StateOrConfig = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Take over corrections from a dataset. Rows that are there already are left as they are.

    A row that cannot be taken over is named, and the others go on; the exit status is 1 then. Imported corrections
    count as reviewed, and as new ones for `alignment.min_corrections`: a running server may start to learn.
    """
    from align.formats.importing import Importer
    from align.state import Blobs, Store

    settings = read_settings(config, {"state": state, "model": model, "model_name": named_after(model)}, None)
    dataset = _dataset(file, format, images or file.parent, settings)
    renderer = _renderer(settings)
    store = Store(settings.database_url)
    try:
        blobs = Blobs(settings.blobs_url, cache=settings.state / "cache")
        importer = Importer(store, blobs, renderer, settings.model_name, settings.corrections.max_code_points)
        with speaker(as_json).status("reading") as status:
            done = importer.run(
                dataset, _name_failure, lambda now: status.update(f"{now.num_rows:,} rows read")
            )
    finally:
        store.close()
    if as_json:
        print_json({"added": done.num_added, "known": done.num_known, "failed": done.num_failed})
    else:
        console.print(
            f"{done.num_added:,} corrections added to {settings.state}, {done.num_known:,} were there already, "
            f"{done.num_failed:,} rows failed"
        )
    if done.num_failed:
        raise typer.Exit(NO)


def export_folder(
    folder: Annotated[Path, typer.Argument(help="A new folder for the dataset.")],
    format: Annotated[ExportFormat, typer.Option(help="The trainer that is to read it.")],
    state: StateOrConfig = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Write the corrections that are learned from as a dataset for another trainer, with their images.

    The wrong words are beside each pair, in the column `spans`. A correction that the format cannot say is named,
    and the others go on; the exit status is 1 then.
    """
    from align.formats.exporting import FORMATS, export_corrections
    from align.state import Blobs

    settings = read_settings(config, {"state": state}, None)
    store = existing_store(settings)
    try:
        blobs = Blobs(settings.blobs_url, cache=settings.state / "cache")
        with speaker(as_json).status("reading") as status:
            done = export_corrections(
                store,
                blobs,
                FORMATS[format],
                folder,
                _name_failure,
                lambda number: status.update(f"{number:,} corrections read"),
            )
    finally:
        store.close()
    if as_json:
        print_json({"written": done.num_written, "failed": done.num_failed, "folder": str(folder)})
    else:
        console.print(f"{done.num_written:,} corrections written to {folder}, {done.num_failed:,} failed")
    if done.num_failed:
        raise typer.Exit(NO)


def _renderer(settings: Settings) -> Renderer:
    from align.rendering import Renderer

    try:
        return Renderer.from_pretrained(settings.model)
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise SettingsError(f"cannot read the model {settings.model!r}: {reason}") from error


def _dataset(file: Path, format: ImportFormat, images: Path, settings: Settings) -> PreferenceFile:
    from align.formats.llava import LlavaFile
    from align.formats.rlhf_v import RlhfVFile

    if format is ImportFormat.RLHF_V:
        return RlhfVFile(file, settings.images)
    return LlavaFile(file, images, settings.images)


def _name_failure(failure: Failure) -> None:
    aside.print(f"{escape(failure.where)}: {escape(failure.reason)}", highlight=False, soft_wrap=True)
