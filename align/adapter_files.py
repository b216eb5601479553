"""The two files of a saved adapter, by PEFT's names, and what tells their contents apart. Imports no torch, no PEFT."""

from __future__ import annotations

import hashlib
from pathlib import Path

from .errors import InvalidAdapter

CONFIG_FILE = "adapter_config.json"
WEIGHTS_FILE = "adapter_model.safetensors"


def adapter_digest(folder: Path) -> str:
    """SHA-256 over names and contents of the adapter's two files. Raises `InvalidAdapter` if one is missing."""
    digest = hashlib.sha256()
    for name in (CONFIG_FILE, WEIGHTS_FILE):
        try:
            content = (folder / name).read_bytes()
        except FileNotFoundError as error:
            raise InvalidAdapter(f"{folder} is no adapter: {name} is missing") from error
        digest.update(f"{name}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()
