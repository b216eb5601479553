"""`python -m serve` is the `errata` command."""

from .cli import main

main()
