"""A text handed to the user's own editor, as git does it."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import tempfile
from pathlib import Path

from ..errors import SettingsError

USUAL = ("sensible-editor", "nano", "vi")


def edited(text: str) -> str:
    """As it is when the editor ends. Raises `SettingsError` where there is no editor, or it did not end well."""
    command = _editor()
    with tempfile.TemporaryDirectory(prefix="errata-") as folder:
        file = Path(folder, "answer.txt")
        file.write_text(text, encoding="utf-8")
        try:
            status = subprocess.run([*command, str(file)], check=False).returncode
        except OSError as error:
            raise SettingsError(f"cannot start {command[0]!r}: {error.strerror}; set EDITOR") from error
        if status != 0:
            raise SettingsError(f"{command[0]!r} ended with status {status}; nothing was changed")
        changed = file.read_text(encoding="utf-8")
    # editors end the last line, which the answer's own may not be
    return changed if text.endswith("\n") else changed.removesuffix("\n")


def _editor() -> list[str]:
    chosen = os.environ.get("VISUAL") or os.environ.get("EDITOR")
    if chosen:
        return shlex.split(chosen)
    for name in USUAL:
        if shutil.which(name):
            return [name]
    raise SettingsError("no editor is set; set EDITOR, for example to nano")
