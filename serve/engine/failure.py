"""What a failure inside the model means for the request that met it, and for the process. Pure."""

from __future__ import annotations

import torch

NOT_FINITE = "The model gave no finite scores for this request; see the server's log."
OUT_OF_MEMORY = "The server ran out of memory at this request: ask again later, or for less at once."


def reason(error: Exception) -> str:
    """In words for whom asked: no traceback, and nothing of what others asked."""
    if is_out_of_memory(error):
        return OUT_OF_MEMORY
    return f"The model failed at this request ({type(error).__name__}); see the server's log."


def is_out_of_memory(error: Exception) -> bool:
    """The memory of a CPU has no exception of its own in torch."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)


def is_device_lost(error: Exception) -> bool:
    """A failed kernel leaves a process whose every later call to its GPU fails as well."""
    return isinstance(error, torch.AcceleratorError)
