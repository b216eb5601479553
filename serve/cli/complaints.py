"""What went wrong, in a line that says what to do, and the status with which the command ends.

0   done
1   done, and the answer is no: a run that failed, a version that was refused, a check that found something
2   not as asked: a wrong option or setting, or something that the server refuses
3   not now: no server answered, or it failed, ended or was too busy; the same command may work later
130 ended by Ctrl+C
"""

from __future__ import annotations

from dataclasses import dataclass

from align.errors import AlignError

from ..errors import RayEnded, ServeError

NO, NOT_SO, NOT_NOW = 1, 2, 3
UNKNOWN_KEY, TOO_BUSY = 401, 429


@dataclass(frozen=True)
class Complaint:
    status: int
    lines: tuple[str, ...]


def complaint_about(error: Exception) -> Complaint | None:
    """None for what only a bug of ours raises: that is to be seen with its traceback."""
    if isinstance(error, RayEnded):
        return Complaint(NOT_NOW, (str(error),))
    if isinstance(error, AlignError | ServeError):
        return Complaint(NOT_SO, (str(error),))
    if isinstance(error, OSError) and error.filename is not None:
        return Complaint(NOT_SO, (f"{error.filename}: {error.strerror}",))
    return _about_a_server(error) or _about_settings(error)


def _about_a_server(error: Exception) -> Complaint | None:
    from errata import ReplyIncomplete
    from httpx import HTTPStatusError, TimeoutException, TransportError
    from openai import (
        APIConnectionError,
        APIError,
        APIResponseValidationError,
        APIStatusError,
        APITimeoutError,
        OpenAIError,
    )

    if isinstance(error, APIConnectionError | TransportError):
        address = error.request.url.copy_with(path="/", query=None)
        if isinstance(error, APITimeoutError | TimeoutException):
            return Complaint(NOT_NOW, (f"the server at {address} did not answer in time; try again later",))
        return Complaint(
            NOT_NOW,
            (f"no server answers at {address}: start one with `errata up`, or name its address with --url",),
        )
    if isinstance(error, HTTPStatusError):
        return _about_a_status(error.response.status_code, str(error))
    if isinstance(error, APIStatusError):
        detail = error.body.get("message") if isinstance(error.body, dict) else None
        return _about_a_status(error.status_code, detail or error.message)
    is_broken_off = isinstance(error, APIError) and not isinstance(error, APIResponseValidationError)
    if is_broken_off or isinstance(error, ReplyIncomplete):  # in the middle of a stream
        return Complaint(NOT_NOW, (str(error),))
    if isinstance(error, OpenAIError):
        return Complaint(NOT_SO, (str(error),))
    return None


def _about_a_status(status: int, message: str) -> Complaint:
    hint = "; set ERRATA_API_KEY or --key" if status == UNKNOWN_KEY else ""
    is_later = status >= 500 or status == TOO_BUSY
    return Complaint(NOT_NOW if is_later else NOT_SO, (f"{message}{hint}",))


def _about_settings(error: Exception) -> Complaint | None:
    from pydantic import ValidationError

    if isinstance(error, ValidationError):
        problems = error.errors()
        return Complaint(
            NOT_SO, tuple(f"setting {'.'.join(map(str, one['loc']))}: {one['msg']}" for one in problems)
        )
    return None
