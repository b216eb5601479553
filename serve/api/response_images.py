"""/v1/responses/{id}/images: the pictures that an answer is about, for whoever may see the answer."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends
from fastapi.responses import Response
from starlette.concurrency import run_in_threadpool

from align.conversation import Conversation
from align.errors import NotFound
from align.images import media_type
from align.state import Key
from serve.replica import Replica

from .auth import kept_response, may_read_this
from .statuses import Documented, refusals

IMAGE: Documented = {
    200: {"content": {"image/*": {"schema": {"type": "string", "format": "binary"}}}},
    **refusals(404, 410),
}
HEADERS = {
    "Cache-Control": "private, max-age=86400, immutable",
    "X-Content-Type-Options": "nosniff",
}


def response_images_router(replica: Replica) -> APIRouter:
    router, store, blobs = APIRouter(prefix="/v1/responses"), replica.store, replica.blobs

    @router.get("/{response_id}/images/{sha256}", response_class=Response, responses=IMAGE)
    async def image(response_id: str, sha256: str, key: Annotated[Key, Depends(may_read_this)]) -> Response:
        """One of the answer's images, as it was sent: PNG, JPEG, WebP or GIF."""

        def read() -> Response:
            response = kept_response(store, response_id, key)
            if sha256 not in Conversation.from_json(response.conversation).image_ids:
                raise NotFound(
                    f"response {response.id!r} is about no image {sha256!r}; its record names them"
                )
            data = blobs.get_image(sha256)
            return Response(data, media_type=media_type(data), headers=HEADERS)

        return await run_in_threadpool(read)

    return router
