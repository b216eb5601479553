"""How large a drill is. Knows nothing of servers."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Plan:
    num_swaps: int = 100
    num_streams: int = 16
    num_replicas: int = 2
    num_questions: int = 24
    max_tokens: int = 64
    steady_s: float = 2.0
    """Seconds of quiet after each swap, once the last answer of the version before has ended."""
    warm_up_share: float = 0.25
    """Of the swaps, after which memory is looked at: allocators and caches grow until each size was asked for."""
    seed: int = 0
    memory_every: int = 2
    """Swaps between two looks at the replicas' memory."""

    @property
    def num_warm_up_swaps(self) -> int:
        return round(self.num_swaps * self.warm_up_share)

    def quick(self) -> Plan:
        """Enough to see that nothing is dropped or mixed; too little for the figures in the tails."""
        return replace(
            self,
            num_swaps=min(self.num_swaps, 6),
            num_streams=min(self.num_streams, 8),
            num_questions=8,
            steady_s=1.0,
        )
