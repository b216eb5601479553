"""How much a key may ask of this replica: requests a minute, by a token bucket, and requests at once. Has no clock.

In memory: each replica counts for itself, and from nothing when it starts.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass

from align.state import Key
from serve.errors import RateLimited
from serve.settings import KeyLimits


@dataclass
class TokenBucket:
    """Full at first; a request takes a token, and `per_minute` of them come back in a minute, up to that number."""

    per_minute: int
    tokens: float
    updated: float  # seconds, of the caller's clock

    def refill(self, now: float) -> None:
        self.tokens = min(self.per_minute, self.tokens + (now - self.updated) * self.per_minute / 60)
        self.updated = now

    @property
    def seconds_to_next(self) -> float:
        return max(0.0, 1.0 - self.tokens) * 60 / self.per_minute

    @property
    def seconds_to_full(self) -> float:
        return (self.per_minute - self.tokens) * 60 / self.per_minute


class Turnstile:
    """Lets a key's requests in and counts them out again. For one thread: the event loop's."""

    def __init__(self, defaults: KeyLimits) -> None:
        """`defaults` are for keys that were made without limits of their own."""
        self._defaults = defaults
        self._buckets: dict[str, TokenBucket] = {}
        self._num_running: Counter[str] = Counter()

    def enter(self, key: Key, now: float) -> dict[str, str]:
        """Headers that tell what is left, none without a limit. `leave` has to follow. Raises `RateLimited`."""
        at_once = key.max_concurrent or self._defaults.max_concurrent
        if at_once is not None and self._num_running[key.account] >= at_once:
            raise RateLimited(
                f"this key may have {at_once} requests at once; wait for one of them to end", 1.0
            )
        headers = self._take_token(key, now)
        self._num_running[key.account] += 1
        return headers

    def leave(self, key: Key) -> None:
        self._num_running[key.account] -= 1
        if self._num_running[key.account] == 0:
            del self._num_running[key.account]

    def _take_token(self, key: Key, now: float) -> dict[str, str]:
        per_minute = key.requests_per_minute or self._defaults.requests_per_minute
        if per_minute is None:
            return {}
        bucket = self._buckets.get(key.account)
        if bucket is None or bucket.per_minute != per_minute:
            bucket = self._buckets[key.account] = TokenBucket(per_minute, float(per_minute), now)
        bucket.refill(now)
        if bucket.seconds_to_next > 0:
            raise RateLimited(f"this key may send {per_minute} requests a minute", bucket.seconds_to_next)
        bucket.tokens -= 1
        return {  # OpenAI's names
            "x-ratelimit-limit-requests": str(per_minute),
            "x-ratelimit-remaining-requests": str(math.floor(bucket.tokens)),
            "x-ratelimit-reset-requests": f"{bucket.seconds_to_full:.3f}s",
        }
