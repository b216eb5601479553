"""Which adapter version lies in which slot, and who still uses it. Plain values; not thread-safe on its own."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..errors import EngineFull, UnknownAdapter
from .protocol import BASE

BASE_SLOT = 0


@dataclass
class _Resident:
    slot: int
    pins: int = 0
    is_leaving: bool = False


@dataclass
class SlotTable:
    """Slot 0 is the base. A slot is free again when its version was retired and its last sequence has ended."""

    num_slots: int
    _residents: dict[str, _Resident] = field(default_factory=dict)

    @property
    def versions(self) -> tuple[str, ...]:
        """Those that new sequences can have, the base left out."""
        return tuple(version for version, resident in self._residents.items() if not resident.is_leaving)

    def keep(self, version: str) -> bool:
        """Whether the version is there; if it was leaving, it stays: its weights never change."""
        if version in self._residents:
            self._residents[version].is_leaving = False
        return version in self._residents

    def free_slot(self) -> int:
        """Raises `EngineFull`."""
        taken = {resident.slot for resident in self._residents.values()}
        for slot in range(BASE_SLOT + 1, BASE_SLOT + 1 + self.num_slots):
            if slot not in taken:
                return slot
        raise EngineFull(
            f"All {self.num_slots} adapter slots are taken: unload a version or raise num_adapter_slots."
        )

    def add(self, version: str, slot: int) -> None:
        """From now on sequences can have it."""
        assert version not in self._residents
        assert all(resident.slot != slot for resident in self._residents.values())
        self._residents[version] = _Resident(slot)

    def pin(self, version: str) -> int:
        """The version's slot, kept until `unpin`. Raises `UnknownAdapter`."""
        if version == BASE:
            return BASE_SLOT
        resident = self._residents.get(version)
        if resident is None or resident.is_leaving:
            raise UnknownAdapter(f"Adapter {version!r} is not loaded; loaded are {[BASE, *self.versions]}.")
        resident.pins += 1
        return resident.slot

    def unpin(self, version: str) -> None:
        if version != BASE:
            self._residents[version].pins -= 1
            self._free_if_unused(version)

    def retire(self, version: str) -> None:
        """Take no more pins; nothing if it is not there."""
        if version in self._residents:
            self._residents[version].is_leaving = True
            self._free_if_unused(version)

    def _free_if_unused(self, version: str) -> None:
        resident = self._residents[version]
        if resident.is_leaving and resident.pins == 0:
            del self._residents[version]
