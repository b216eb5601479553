"""Stop strings in text that comes in pieces: the result doesn't depend on where the pieces are cut. Pure."""

from __future__ import annotations


class StopStrings:
    """Holds back what may still become a stop string, so that none of it is ever emitted."""

    def __init__(self, stop: tuple[str, ...]) -> None:
        self._stop = tuple(string for string in stop if string)
        self._held = ""
        self.is_met = False

    def push(self, text: str) -> str:
        """The text that is certain to stand before any stop string. After `is_met`, nothing more."""
        if not self._stop or self.is_met:
            return "" if self.is_met else text
        text = self._held + text
        found = [(at + len(string), at) for string in self._stop if (at := text.find(string)) >= 0]
        if found:
            self.is_met = True
            self._held = ""
            _, start = min(found)  # the one that is complete first
            return text[:start]
        num_held = self._num_to_hold(text)
        self._held = text[len(text) - num_held :]
        return text[: len(text) - num_held]

    def flush(self) -> str:
        """What was held back, when no more text comes."""
        held, self._held = self._held, ""
        return held

    def _num_to_hold(self, text: str) -> int:
        longest = min(len(text), max(map(len, self._stop)) - 1)
        for length in range(longest, 0, -1):
            end = text[len(text) - length :]
            if any(string.startswith(end) for string in self._stop):
                return length
        return 0
