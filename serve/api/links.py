"""/v1/responses/{id}/link: a person who has no key may correct one answer, for a while."""

from __future__ import annotations

import math
import time
from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Depends
from starlette.concurrency import run_in_threadpool

from align.state import Key
from serve.replica import Replica

from .auth import kept_response, may_chat_or_correct
from .feedback_token import SECRET, FeedbackClaims, sign
from .schema import Body, ResponseLink
from .schema.corrections import MAX_AUTHOR
from .statuses import WITH_BODY, refusals


def links_router(replica: Replica) -> APIRouter:
    router, store = APIRouter(prefix="/v1/responses"), replica.store

    @router.post("/{response_id}/link", responses=refusals(*WITH_BODY, 404, 410))
    async def link(
        response_id: str, key: Annotated[Key, Depends(may_chat_or_correct)], body: Body | None = None
    ) -> ResponseLink:
        """A feedback token of this answer, and where the page shows it: the key's own, or any with admin.

        What comes with it is this key's, and it ends with this key.
        """

        def make() -> ResponseLink:
            response = kept_response(store, response_id, key)
            expires = math.ceil(time.time() + replica.settings.feedback_token_s)
            author = response.user if len(response.user or "") <= MAX_AUTHOR else None
            token = sign(FeedbackClaims(response.id, key.id, author, expires), store.secrets.get(SECRET))
            path = f"/#/answer/{quote(response.id, safe='')}?token={token}"
            return ResponseLink(response_id=response.id, token=token, path=path, expires=expires)

        return await run_in_threadpool(make)

    return router
