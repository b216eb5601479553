"""From token ids to text while they come: never half a character. Knows one tokenizer, no sequence."""

from __future__ import annotations

from typing import Any

from transformers import PreTrainedTokenizerFast

UNFINISHED = "\N{REPLACEMENT CHARACTER}"
WINDOW = 16
CONTEXT = 4


class Detokenizer:
    """The texts of all calls, joined, are `tokenizer.decode(ids, skip_special_tokens=True)`.

    Decodes a short window of ids, not the whole answer; a few ids stay in it as context, because tokenizers treat
    the first token of a text differently (a leading space).
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        is_plain = getattr(type(tokenizer), "_decode", None) is PreTrainedTokenizerFast._decode
        # what is around it in transformers takes longer than all of it, at each token
        self._backend = tokenizer.backend_tokenizer if is_plain else None
        self._window: list[int] = []
        self._num_emitted = 0  # characters of the window's text

    def push(self, token_id: int) -> str:
        """What is certain now; empty while a character is unfinished."""
        self._window.append(token_id)
        text = self._decode()
        if text.endswith(UNFINISHED):
            return ""
        new = text[self._num_emitted :]
        self._num_emitted = max(self._num_emitted, len(text))
        if new and len(self._window) >= WINDOW:
            self._window = self._window[-CONTEXT:]
            self._num_emitted = len(self._decode())
        return new

    def flush(self) -> str:
        """What was held back, when no more ids come."""
        text = self._decode()
        new = text[self._num_emitted :]
        self._num_emitted = max(self._num_emitted, len(text))
        return new

    def _decode(self) -> str:
        if self._backend is not None:
            return str(self._backend.decode(self._window, skip_special_tokens=True))
        text: str = self._tokenizer.decode(
            self._window, skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        return text
