"""Resident memory of each replica, as the server's metrics tell it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

import httpx
from prometheus_client.parser import text_string_to_metric_families

RESIDENT = "errata_resident_memory_bytes"


@dataclass(frozen=True)
class Memory:
    """Resident bytes by replica, after so many swaps. The look lasted from `began` to `ended`, monotonic seconds."""

    num_swaps: int
    began: float
    ended: float
    by_replica: Mapping[str, int]


async def sample(client: httpx.AsyncClient, address: str, num_swaps: int) -> Memory:
    began = time.monotonic()
    page = (await client.get(f"{address}/metrics")).raise_for_status().text
    resident = {
        metric.labels["replica"]: int(metric.value)
        for family in text_string_to_metric_families(page)
        for metric in family.samples
        if metric.name == RESIDENT
    }
    return Memory(num_swaps, began, time.monotonic(), resident)
