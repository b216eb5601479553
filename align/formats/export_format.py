"""The names of the datasets that can be written. Loads none of what writes them."""

from __future__ import annotations

from enum import StrEnum


class ExportFormat(StrEnum):
    TRL = "trl"
    OPENAI = "openai"
    MS_SWIFT = "ms-swift"
    LLAMA_FACTORY = "llama-factory"
