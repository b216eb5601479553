"""From token ids to text while they come: never half a character. Knows one tokenizer, no sequence.

What is served and what is learned from is text by these rules, so that a correction finds its tokens.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from transformers import PreTrainedTokenizerFast

UNFINISHED = "\N{REPLACEMENT CHARACTER}"


class Detokenizer:
    """The texts of all calls, joined, are `tokenizer.decode(ids)`, except where single bytes are tokens and make no
    character: `decode` says no other byte of that run either, but characters that came before them stay here.

    Decodes the newest ids, not the whole answer; those of the piece before them are their context, because tokenizers
    treat the first token of a text differently (a leading space). A piece begins and ends between two characters.
    """

    def __init__(self, tokenizer: Any, skip_special_tokens: bool = True) -> None:
        self._tokenizer = tokenizer
        self._skip_special_tokens = skip_special_tokens
        is_plain = getattr(type(tokenizer), "_decode", None) is PreTrainedTokenizerFast._decode
        # what is around it in transformers takes longer than all of it, at each token
        self._backend = tokenizer.backend_tokenizer if is_plain else None
        self._context: list[int] = []
        self._context_text = ""
        self._newest: list[int] = []

    def push(self, token_id: int) -> str:
        """What is certain now; empty while a character is unfinished."""
        self._newest.append(token_id)
        text = self._newest_text()
        if not text or text.endswith(UNFINISHED):
            return ""
        self._context, self._newest = self._newest, []
        self._context_text = self._decode(self._context)
        return text

    def flush(self) -> str:
        """What was held back, when no more ids come."""
        text = self._newest_text()
        self._newest = []
        return text

    def _newest_text(self) -> str:
        text = self._decode(self._context + self._newest)
        if text.startswith(self._context_text):
            return text[len(self._context_text) :]
        # a byte in it is of no character, and took the characters of the bytes before it along
        return self._decode(self._newest)

    def _decode(self, token_ids: list[int]) -> str:
        if self._backend is not None:
            return str(self._backend.decode(token_ids, skip_special_tokens=self._skip_special_tokens))
        text: str = self._tokenizer.decode(
            token_ids, skip_special_tokens=self._skip_special_tokens, clean_up_tokenization_spaces=False
        )
        return text


def spelled(token_ids: Iterable[int], tokenizer: Any) -> str:
    """The text of a whole answer, as it is served."""
    detokenizer = Detokenizer(tokenizer)
    return "".join([*map(detokenizer.push, token_ids), detokenizer.flush()])
