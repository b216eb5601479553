"""The store's corrections as a folder that another trainer reads. The folder appears whole or not at all."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ..conversation import Conversation
from ..durable import appears_whole
from ..errors import AlignError, Conflict, NothingToLearn
from ..examples import Example
from ..state import Blobs, Store
from ..state.examples import corrected_example
from .export_format import ExportFormat
from .llama_factory import LlamaFactoryFile
from .openai import OpenAIFile
from .preference import Failure
from .swift import SwiftFile
from .trl import TrlFile


class PairFile(Protocol):
    """A dataset being written into a folder, a bounded number of rows in memory at a time."""

    def __init__(self, folder: Path, has_images: bool) -> None:
        """`has_images`: whether any of its rows has one."""

    def write(self, example: Example) -> None:
        """The whole row, or nothing where it raises `UnfitRow` or `InvalidImage`."""

    def close(self) -> None: ...


FORMATS: Mapping[str, type[PairFile]] = {
    ExportFormat.TRL: TrlFile,
    ExportFormat.OPENAI: OpenAIFile,
    ExportFormat.MS_SWIFT: SwiftFile,
    ExportFormat.LLAMA_FACTORY: LlamaFactoryFile,
}


@dataclass(frozen=True)
class Exported:
    num_written: int
    num_failed: int


def export_corrections(
    store: Store,
    blobs: Blobs,
    format: type[PairFile],
    folder: Path,
    on_failure: Callable[[Failure], None],
    on_row: Callable[[int], None] = lambda _: None,
) -> Exported:
    """Write every correction that is learned from now, in order of arrival.

    One that cannot be written is named to `on_failure`, and the others go on; `on_row` hears how many were looked
    at. Raises `Conflict` where the folder exists, `NothingToLearn` where nothing could be written.
    """
    if folder.exists():
        raise Conflict(f"{folder} exists, and an export takes the place of nothing; name another folder")
    num_written = num_failed = 0
    has_images = _has_images(store)
    with appears_whole(folder) as temporary:
        temporary.mkdir()
        with closing(format(temporary, has_images)) as file:
            for correction, response in store.corrections.trainable():
                try:
                    file.write(corrected_example(correction, response, blobs))
                    num_written += 1
                except AlignError as error:
                    on_failure(Failure(f"correction {correction.id}", str(error)))
                    num_failed += 1
                on_row(num_written + num_failed)
        if num_written == 0:
            reason = f"none of the {num_failed} corrections fits" if num_failed else "there is none yet"
            raise NothingToLearn(f"no correction could be exported: {reason}")
    return Exported(num_written, num_failed)


def _has_images(store: Store) -> bool:
    return any(
        Conversation.from_json(response.conversation).image_ids
        for _, response in store.corrections.trainable()
    )
