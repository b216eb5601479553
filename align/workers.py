"""The equal workers of a run: one process, or each of a torch process group. Knows nothing of models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, distributed


@dataclass(frozen=True)
class Workers:
    """Who this process is among them. `device` is where values are summed: NCCL adds up on the GPU only."""

    rank: int
    num: int
    device: str

    @classmethod
    def current(cls, device: str) -> Workers:
        if not (distributed.is_available() and distributed.is_initialized()):
            return cls(0, 1, device)
        return cls(distributed.get_rank(), distributed.get_world_size(), device)

    def share(self, numbers: list[int]) -> list[int]:
        """Every `num`-th of them, so that pairs in order of length are shared out evenly."""
        return numbers[self.rank :: self.num]

    def total(self, values: Tensor) -> Tensor:
        """The sum over all workers, on the device where `values` are."""
        if self.num == 1:
            return values
        total = values.to(self.device)
        distributed.all_reduce(total)
        return total.to(values.device)

    def from_first(self, number: int) -> int:
        """What rank 0 says, on all."""
        return int(self.total(torch.tensor(number if self.rank == 0 else 0)))

    def any(self, is_so: bool) -> bool:
        """Whether it is so on at least one."""
        return bool(self.total(torch.tensor(int(is_so))))

    def add_gradients(self, parameters: Sequence[Tensor]) -> None:
        """Replace each gradient by its sum over all workers.

        Every loss is already divided by the global batch, so a sum is exact for shares of any size. An adapter is
        small: one message does what DistributedDataParallel would overlap with the backward pass.
        """
        if self.num == 1:
            return
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        total = self.total(torch.cat([gradient.flatten() for gradient in gradients]))
        sizes = [gradient.numel() for gradient in gradients]
        for gradient, part in zip(gradients, torch.split(total, sizes), strict=True):
            gradient.copy_(part.view_as(gradient))
