"""What a browser gets instead of a key: for a while it may correct one answer, and see the corrections of it.

Text that is signed, and no secret itself: `errata-feedback.CLAIMS.SIGNATURE`. Knows neither the store nor HTTP.
"""

from __future__ import annotations

import hmac
import json
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import asdict, dataclass

from serve.errors import Unauthenticated

SECRET = "feedback_token"
"""Name of the secret in the store."""
PREFIX = "errata-feedback."
UNKNOWN = (
    "this feedback token is not one that this server gave, or its secret was changed; ask for an answer anew"
)


@dataclass(frozen=True)
class FeedbackClaims:
    response_id: str
    key_id: str
    """The key that the answer was given to: the token ends with it."""
    author: str | None
    """Whom its corrections come from, where the request named a user."""
    expires: int
    """Seconds since the epoch."""


def is_feedback_token(secret: str) -> bool:
    return secret.startswith(PREFIX)


def sign(claims: FeedbackClaims, secret: bytes) -> str:
    said = _text(json.dumps(asdict(claims), separators=(",", ":")).encode())
    return f"{PREFIX}{said}.{_signature(said, secret)}"


def read(token: str, secret: bytes) -> FeedbackClaims:
    """Raises `Unauthenticated` on anything but a token that was signed with this secret and still holds."""
    said, _, signature = token.removeprefix(PREFIX).partition(".")
    # as text: several texts decode to the same bytes
    if not hmac.compare_digest(_signature(said, secret).encode(), signature.encode()):
        raise Unauthenticated(UNKNOWN)
    claims = FeedbackClaims(**json.loads(urlsafe_b64decode(said + "=" * (-len(said) % 4))))
    if time.time() >= claims.expires:
        raise Unauthenticated("this feedback token has expired; ask for an answer anew")
    return claims


def _signature(said: str, secret: bytes) -> str:
    return _text(hmac.digest(secret, f"{PREFIX}{said}".encode(), "sha256"))


def _text(data: bytes) -> str:
    return urlsafe_b64encode(data).decode().rstrip("=")
