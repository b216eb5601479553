"""A folder of pictures beside a dataset's rows: each once, under its SHA-256, whatever the row."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ..conversation import Conversation
from ..images import file_ending

FOLDER = "images"


class Pictures:
    def __init__(self, dataset: Path) -> None:
        self._dataset = dataset
        (dataset / FOLDER).mkdir()

    def add(self, conversation: Conversation, images: Mapping[str, bytes]) -> list[str]:
        """The paths of its images, relative to the dataset and in the conversation's order. Raises `InvalidImage`."""
        names = {digest: f"{FOLDER}/{digest}.{file_ending(data)}" for digest, data in images.items()}
        for digest, name in names.items():
            if not (self._dataset / name).exists():
                (self._dataset / name).write_bytes(images[digest])
        return [names[digest] for digest in conversation.image_ids]
