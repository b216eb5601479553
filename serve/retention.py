"""Keeps the state from growing for ever: old answers that nobody corrected, files that nothing names, old adapters.

Each step does a little of each, so that those who serve never wait for it. All that it decides from is in the store.
"""

from __future__ import annotations

import time

import structlog

from align.errors import Conflict
from align.state import Adapter, Blobs, Store

from .settings import RetentionSettings

log = structlog.get_logger()

DAY_S = 86_400.0
NUM_FOLDERS = 256
"""Of images, by the first two digits of their SHA-256; each look is at one."""
YOUNG_S = 3600.0
"""What was stored so recently may be of an answer that is still being given, or of a version that is about to be."""
LEAP_S = 30.0
"""A clock that went forward so much farther than time did was set, and what looks old by it may not be."""


class Retention:
    def __init__(self, store: Store, blobs: Blobs, settings: RetentionSettings) -> None:
        self._store, self._blobs, self._settings = store, blobs, settings
        self._folder, self._next = 0, time.monotonic()
        self._images: list[str] = []  # old ones of the last folder, which wait for a step
        self._ahead_s, self._trusted_from = time.time() - self._next, self._next
        self._looked_at = ""  # the last of the adapters' folders, or of the reports' that come after them

    def step(self) -> None:
        """One look, every `every_s`; at once again while there is more to expire, or images of a folder to look at."""
        now, tick = time.time(), time.monotonic()
        if tick < self._next:
            return
        is_more = False
        if self._is_trusted(now, tick):
            is_more = self._expire(now) or self._collect_images(now)
            if not is_more:
                self._collect_folders(now)
        self._retire(now)
        self._next = tick if is_more else tick + self._settings.every_s

    def _is_trusted(self, now: float, tick: float) -> bool:
        """Not for an hour after a leap: there is time to set the clock right before anything is gone for good."""
        leap_s, self._ahead_s = now - tick - self._ahead_s, now - tick
        if leap_s > LEAP_S:
            self._trusted_from = tick + YOUNG_S
            log.warning(
                "the clock was set forward: nothing is removed by its age for an hour", seconds=leap_s
            )
        return tick >= self._trusted_from

    def _expire(self, now: float) -> bool:
        if self._settings.responses_days is None:
            return False
        before = now - self._settings.responses_days * DAY_S
        number = self._store.expiry.responses(before, self._settings.batch)
        if number:
            self._store.erasures.remove_images(self._blobs.remove_image)
            log.info("old answers without corrections are erased", number=number)
        return number == self._settings.batch

    def _collect_images(self, now: float) -> bool:
        """Images that an answer which was never recorded left behind; whether more of their folder wait.

        All of a folder are looked at before the next one, so that none stays because those before it are shown.
        """
        if not self._images:
            self._images = self._blobs.images_in(self._folder, stored_before=now - YOUNG_S)
            self._folder = (self._folder + 1) % NUM_FOLDERS
        batch = self._settings.batch
        some, self._images = self._images[:batch], self._images[batch:]
        if some and (number := self._store.expiry.orphans(some)):
            self._store.erasures.remove_images(self._blobs.remove_image)
            log.info("images that nothing shows are removed", number=number)
        return bool(self._images)

    def _collect_folders(self, now: float) -> None:
        """Files and reports of a run that died, or was taken over or given up, before it could name them."""
        folders = [*self._blobs.folders_in("adapters"), *self._blobs.folders_in("reports")]
        names = [name for name in folders if name > self._looked_at]
        some = names[: self._settings.batch]
        self._looked_at = some[-1] if len(some) < len(names) else ""
        for name in self._store.expiry.unnamed(some):
            is_old = self._blobs.is_stored_before(name, now - YOUNG_S)
            if is_old and self._store.expiry.remove_unnamed(name, self._blobs.remove_folder):
                log.info("files that no version and no run names are removed", folder=name)

    def _retire(self, now: float) -> None:
        if self._settings.adapters is None:
            return
        for adapter in superseded(self._store, self._settings.adapters, now)[: self._settings.batch]:
            try:
                self._store.adapters.retire(adapter.version)
            except Conflict:  # a rollout has named it since
                continue
            if not self._store.adapters.using(adapter.blob):
                self._blobs.remove_folder(adapter.blob)
            log.info("an old adapter is retired", version=adapter.version)


def superseded(store: Store, num_kept: int, now: float) -> list[Adapter]:
    """Those beyond the newest admitted ones that neither answer nor answered before; a held one waits for a person."""
    desired = store.rollouts.desired()
    in_force = desired.in_force(now)
    kept = {*in_force.versions, desired.previous(in_force)}
    adapters = store.adapters.all()
    kept |= {one.version for one in [one for one in adapters if one.status == "admitted"][:num_kept]}
    return [one for one in adapters if one.status in ("admitted", "refused") and one.version not in kept][
        ::-1
    ]
