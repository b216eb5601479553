"""The `errata` command. A client of the server like any other, but for `up`, `demo` and the keys."""

from .command import app, main

__all__ = ["app", "main"]
