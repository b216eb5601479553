"""`errata drill`: swaps adapters under load and proves from the outside that nobody's answer was dropped or mixed."""
