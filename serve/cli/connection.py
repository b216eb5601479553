"""The server that a command asks, by the SDK."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from errata import Errata


def connect(url: str, key: str) -> Errata:
    from errata import Errata

    return Errata(base_url=api_address(url), api_key=key)


def api_address(url: str) -> str:
    """`host:8000`, `http://host:8000` and `http://host:8000/v1` are the same server."""
    whole = (url if "://" in url else f"http://{url}").rstrip("/")
    return whole if urlsplit(whole).path else f"{whole}/v1"
