"""Tokens' log-probabilities in OpenAI's shape. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from serve.engine.protocol import ScoredToken, TokenLogprobs

LEAST = -9999.0
"""OpenAI's word for a token that cannot be: JSON has no infinity."""


def logprobs_json(entries: Iterable[TokenLogprobs]) -> dict[str, Any]:
    return {
        "content": [
            {**_token(entry.sampled), "top_logprobs": [_token(token) for token in entry.likeliest]}
            for entry in entries
        ],
        "refusal": None,
    }


def _token(token: ScoredToken) -> dict[str, Any]:
    return {
        "token": token.encoded.decode(errors="replace"),
        "logprob": max(token.logprob, LEAST),
        "bytes": list(token.encoded),
    }
