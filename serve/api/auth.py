"""May they: which scope a route needs, and whose an answer is."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPBearer

from align.state import Key, Response, Store
from serve.errors import Erased, Forbidden, Unauthenticated

from .door import ANONYMOUS, ONE_RESPONSE, Visitor


def person_of(key: Key, user: str | None, request_id: str) -> str:
    """Whose request it is, as far as a candidate's share is concerned: they meet the same version each time.

    The user that the application names, else all that a key asks; without keys, each request is somebody else's.
    """
    if user is not None:
        return f"{key.id}/{user}"
    return request_id if key.id == ANONYMOUS.id else key.id


def check_own(owner: str, key: Key, message: str) -> None:
    """Raises `Forbidden` with the message where something belongs to another key, and this one is no admin's."""
    if owner != key.id and not key.allows("admin"):
        raise Forbidden(message)


def own_response(store: Store, response_id: str, key: Key) -> Response:
    """Raises `NotFound`, and `Forbidden` where it is another key's and this one is no admin's.

    A token was given by who may see its response, whose key need not be the response's: an admin gives any.
    """
    if isinstance(key, Visitor):
        if response_id != key.response_id:
            raise Forbidden("this feedback token is for another response")
        return store.responses.get(response_id)
    response = store.responses.get(response_id)
    check_own(response.key_id, key, "this response was given to another key")
    return response


def kept_response(store: Store, response_id: str, key: Key) -> Response:
    """As `own_response`. Raises `Erased` as well."""
    response = own_response(store, response_id, key)
    if response.is_erased:
        raise Erased(f"response {response.id!r} was deleted; its record is gone")
    return response


def answered_to(key: Key) -> str | None:
    """The id of the key whose answers this one sees; none: of all."""
    return None if key.allows("admin") else key.id


def _may(request: Request, *scopes: str) -> Key:
    key: Key | None = getattr(request.state, "key", None)
    if key is None:
        raise Unauthenticated("send a key: `Authorization: Bearer sk-errata-...`")
    if not any(key.allows(scope) for scope in scopes):
        raise Forbidden(f"this key has the scopes {', '.join(key.scopes)}; this needs {' or '.join(scopes)}")
    return key


_bearer = HTTPBearer(
    auto_error=False,
    description="A key of `errata keys create`; none where no key was made. For feedback, the token of an answer, too.",
)


# coroutines though they wait for nothing: FastAPI would run functions in a thread each
async def may_chat(request: Request, _: Annotated[object, Depends(_bearer)]) -> Key:
    return _may(request, "chat")


async def may_correct(request: Request, _: Annotated[object, Depends(_bearer)]) -> Key:
    return _may(request, "feedback")


async def may_correct_this(request: Request, _: Annotated[object, Depends(_bearer)]) -> Key:
    """As `may_correct`, and who comes with a feedback token."""
    return _may(request, "feedback", ONE_RESPONSE)


async def may_chat_or_correct(request: Request, _: Annotated[object, Depends(_bearer)]) -> Key:
    return _may(request, "chat", "feedback")


async def may_read_this(request: Request, _: Annotated[object, Depends(_bearer)]) -> Key:
    """As `may_chat_or_correct`, and who comes with a feedback token."""
    return _may(request, "chat", "feedback", ONE_RESPONSE)


async def may_administer(request: Request, _: Annotated[object, Depends(_bearer)]) -> Key:
    return _may(request, "admin")
