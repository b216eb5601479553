"""Who corrects answers over HTTP, and asks again until a correction is acknowledged. Remembers each that was sent."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import httpx

from .invariants import Sent

PAUSE_S = 0.5
RETRIED = frozenset({408, 429, 500, 502, 503, 504})


class Corrector:
    """`ledger` are all corrections that were sent, `num_failed` the tries that acknowledged none."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self.ledger: list[Sent] = []
        self.num_failed = 0
        self._client = client
        self._is_stopped = False

    def stop(self) -> None:
        self._is_stopped = True

    async def correct(self, response_id: str, text: str) -> None:
        """Sent until it is answered, under one key."""
        sent = Sent(f"correction {len(self.ledger)}")
        body = {"response_id": response_id, "corrected_text": f"{text} {sent.key}."}
        self.ledger.append(sent)
        while sent.id is None and sent.refusal is None and not self._is_stopped:
            with suppress(httpx.HTTPError):  # after one nobody knows whether it was stored
                await self._send(sent, body)
            if sent.id is None:
                self.num_failed += 1
                await asyncio.sleep(PAUSE_S)

    async def _send(self, sent: Sent, body: dict[str, str]) -> None:
        """One try. An answer that is no error acknowledges it."""
        answer = await self._client.post("feedback", json=body, headers={"Idempotency-Key": sent.key})
        if answer.is_success:
            sent.id = answer.json()["id"]
        elif answer.status_code not in RETRIED:
            sent.refusal = f"{answer.status_code}: {answer.text}"
