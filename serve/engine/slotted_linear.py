"""A linear layer with several adapters beside its weight; each row of a batch uses one of them, or none."""

from __future__ import annotations

from collections.abc import Sequence as Ordered

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .slots import BASE_SLOT


class Routing:
    """Which slot each row of the next forward uses. One object for all layers, set before each forward."""

    def __init__(self, num_slots: int, max_rank: int) -> None:
        self.num_slots = num_slots
        self.max_rank = max_rank
        self.ranks: dict[int, int] = {}
        """The largest rank of the adapter in each slot that holds one: what lies beyond is zero."""
        self.shared_slot: int | None = BASE_SLOT
        """The slot of all rows, None where they differ."""
        self.stacked_slots: tuple[int, ...] = ()
        """Where they differ: the slots in use but the base, in the order in which layers stack them."""
        self.is_foreign = torch.empty(0)
        """(B, 1, R), R the sum of their ranks: the low-rank features of another slot than the row's own."""
        self._slots: tuple[int, ...] = ()

    def set(self, slots: Ordered[int], device: torch.device) -> None:
        self.shared_slot = slots[0] if all(slot == slots[0] for slot in slots) else None
        if self.shared_slot is None and tuple(slots) != self._slots:
            self._slots = tuple(slots)
            self.stacked_slots = tuple(sorted({*slots} - {BASE_SLOT}))
            own = torch.tensor(self._slots, device=device).view(-1, 1, 1)  # (B, 1, 1)
            of = [slot for slot in self.stacked_slots for _ in range(self.ranks[slot])]
            self.is_foreign = own != torch.tensor(of, device=device)  # (B, 1, R)

    def put(self, slot: int, rank: int) -> None:
        """Note what was written into a slot."""
        self.ranks[slot] = rank
        self._slots = ()


class SlottedLinear(nn.Module):
    """y = W x + b + B[slot] A[slot] x, with the adapter's scaling inside B (Hu et al. 2021, equation 3).

    A mixed batch multiplies by the adapters in use all at once and drops what is not a row's own: one product instead
    of a gathered copy of A and B for each row. Rows of the base drop everything.
    """

    def __init__(self, linear: nn.Linear, routing: Routing) -> None:
        super().__init__()
        self.weight = linear.weight
        self.bias = linear.bias
        self.in_features, self.out_features = linear.in_features, linear.out_features
        slots = linear.weight.new_zeros(routing.num_slots, routing.max_rank, 1)
        self.lora_a: Tensor
        self.lora_b: Tensor
        self.register_buffer("lora_a", slots.repeat(1, 1, self.in_features), persistent=False)
        self.register_buffer("lora_b", slots.repeat(1, 1, self.out_features), persistent=False)
        self._routing = routing
        self._stacked_slots: tuple[int, ...] = ()
        self._stacked: tuple[Tensor, Tensor] = (self.lora_a[:0], self.lora_b[:0])

    def forward(self, x: Tensor) -> Tensor:  # (B, T, in)
        y = F.linear(x, self.weight, self.bias)
        slot = self._routing.shared_slot
        if slot == BASE_SLOT:
            return y
        if slot is not None:
            a, b = self._in_slot(slot)
            return y + F.linear(x, a) @ b
        a, b = self._stack()
        # filled, not multiplied by zero: an overflow of another slot's adapter must not become this row's NaN
        features = F.linear(x, a).masked_fill_(self._routing.is_foreign, 0.0)  # (B, T, R)
        return y + features @ b

    def _in_slot(self, slot: int) -> tuple[Tensor, Tensor]:  # (r, in) (r, out)
        rank = self._routing.ranks[slot]
        return self.lora_a[slot - 1, :rank], self.lora_b[slot - 1, :rank]

    def _stack(self) -> tuple[Tensor, Tensor]:  # (R, in) (R, out)
        """Copied only when other slots come into use, not at every step."""
        if self._stacked_slots != self._routing.stacked_slots:
            self._stacked_slots = self._routing.stacked_slots
            a, b = zip(*map(self._in_slot, self._stacked_slots), strict=True)
            self._stacked = torch.cat(a), torch.cat(b)
        return self._stacked

    def write(self, slot: int, a: Tensor, b: Tensor) -> None:
        """Put `a` (r, in) and `b` (out, r), scaling inside, into a slot; ranks beyond r are zero."""
        self.clear(slot)
        rank = a.shape[0]
        self.lora_a[slot - 1, :rank].copy_(a)
        self.lora_b[slot - 1, :rank].copy_(b.t())

    def clear(self, slot: int) -> None:
        self.lora_a[slot - 1].zero_()
        self.lora_b[slot - 1].zero_()
        self._stacked_slots = ()


def install(model: nn.Module, decoder: nn.Module, routing: Routing) -> dict[str, SlottedLinear]:
    """Replace every `nn.Linear` of the language model `decoder`; the layers by their name in `model`."""
    prefix = next(name for name, module in model.named_modules() if module is decoder)
    layers: dict[str, SlottedLinear] = {}
    for name, module in list(decoder.named_modules()):
        if type(module) is nn.Linear:  # not a subclass: a quantised layer has its own forward
            parent = decoder.get_submodule(name.rpartition(".")[0])
            layer = SlottedLinear(module, routing)
            setattr(parent, name.rpartition(".")[2], layer)
            layers[f"{prefix}.{name}" if prefix else name] = layer
    return layers
