"""What single tokens say: the bytes behind an id, which may be half a character. Knows one tokenizer, no text."""

from __future__ import annotations

import re
from functools import cached_property
from typing import Any

from transformers.convert_slow_tokenizer import bytes_to_unicode

SPACE = "\N{LOWER ONE EIGHTH BLOCK}"
"""How SentencePiece writes a space."""
SINGLE_BYTE = re.compile(r"<0x([0-9A-F]{2})>")


class Vocabulary:
    """The bytes of an answer's tokens, joined, are its text in UTF-8, but for special tokens, which are left out of a
    text, and a space that some tokenizers drop at its start.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._encoded: dict[int, bytes] = {}

    def encoded(self, token_id: int) -> bytes:
        """Empty for an id that the model can sample and the tokenizer doesn't know."""
        if token_id not in self._encoded:
            self._encoded[token_id] = self._encode(token_id)
        return self._encoded[token_id]

    def plain_ids(self, count: int) -> list[int]:
        """Ids that are ordinary text, spread over the vocabulary."""
        special = set(self._tokenizer.added_tokens_decoder)
        plain = [token_id for token_id in range(len(self._tokenizer)) if token_id not in special]
        return plain[:: max(1, len(plain) // count)][:count]

    def _encode(self, token_id: int) -> bytes:
        added = self._tokenizer.added_tokens_decoder.get(token_id)
        if added is not None:
            return str(added.content).encode()
        token: str | None = self._tokenizer.convert_ids_to_tokens(token_id)
        if token is None:
            return b""
        if self._is_byte_level:
            return bytes(self._byte_of[character] for character in token)
        if match := SINGLE_BYTE.fullmatch(token):
            return bytes.fromhex(match[1])
        return token.replace(SPACE, " ").encode()

    @cached_property
    def _is_byte_level(self) -> bool:
        """Whether each character of a token stands for a byte, as in GPT-2's vocabulary."""
        backend = getattr(self._tokenizer, "backend_tokenizer", None)
        decoder = getattr(backend, "decoder", None)
        return decoder is not None and b"ByteLevel" in decoder.__getstate__()

    @cached_property
    def _byte_of(self) -> dict[str, int]:
        return {character: byte for byte, character in bytes_to_unicode().items()}
