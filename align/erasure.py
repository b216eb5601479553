"""Forgetting for good: rows without their words, images gone with their last response, and nothing in the log.

When one of these returns, the words are in no file of the database and the images in none of the blob store. What
learned from them is marked, and a run without them is asked for; see `state/erasures.py`.
"""

from __future__ import annotations

from .state import Blobs, Erasure, Store


def erase_response(store: Store, blobs: Blobs, response_id: str) -> Erasure:
    """A response with its corrections and its images. Raises `NotFound`, `StateError`."""
    erasure = store.erasures.response(response_id)
    remove_traces(store, blobs)
    return erasure


def erase_correction(store: Store, blobs: Blobs, correction_id: str) -> Erasure:
    """One correction; the response that it corrects stays. Raises `NotFound`, `StateError`."""
    erasure = store.erasures.correction(correction_id)
    remove_traces(store, blobs)
    return erasure


def erase_source(store: Store, blobs: Blobs, source: str) -> Erasure:
    """All that was answered to a key or corrected with it; of KEY/AUTHOR, what that author corrected.

    Raises `NotFound`, `StateError`.
    """
    try:
        return store.erasures.source(source)
    finally:  # nothing is left to name an erased author by, and the first time may have been cut off here
        remove_traces(store, blobs)


def remove_traces(store: Store, blobs: Blobs) -> None:
    """Images that only erased responses showed, and words in the log; what a crash cut off, too.

    Raises `StateError` where another process keeps the log from being emptied; calling again finishes it.
    """
    store.erasures.remove_images(blobs.remove_image)
    store.database.empty_log()
