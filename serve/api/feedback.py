"""POST /feedback: what was wrong with an answer. A 2xx means that it is on disk."""

from __future__ import annotations

import time
import uuid
from hashlib import sha256
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Query
from fastapi import Response as HTTPResponse
from starlette.concurrency import run_in_threadpool

from align.abuse.quarantine import foresee, receive
from align.abuse.source import source_of
from align.errors import InvalidSpans
from align.spans import Span, apply_spans, diff_spans, edit_ratio, ordered
from align.state import Correction, Key, Response
from align.state.corrections import spans_to_json
from serve.errors import Erased, Forbidden, Unprocessable
from serve.replica import Replica
from serve.settings import CorrectionLimits

from .auth import may_correct_this, own_response
from .corrections import correction_answer
from .door import Visitor
from .schema import CorrectionAnswer, CorrectionOptions, CorrectionPreview, CorrectionRequest
from .statuses import WITH_BODY, Documented, refusals

ANSWERS: Documented = {
    200: {"model": CorrectionPreview, "description": "With `dryrun`: what would be stored"},
    201: {"model": CorrectionAnswer, "description": "It is on disk"},
    **refusals(*WITH_BODY, 404, 409, 410, 422),
}


def corrected(served: str, body: CorrectionRequest) -> tuple[str, list[Span]]:
    """Text and spans, the one made from the other. Raises `InvalidSpans` where both are given and disagree."""
    if body.spans is None:
        text = body.corrected_text or ""
        return text, diff_spans(served, text)
    spans = ordered(served, [Span(s.start, s.end, s.replacement, s.kind) for s in body.spans])
    text = apply_spans(served, spans)
    if body.corrected_text is not None and body.corrected_text != text:
        raise InvalidSpans(
            "corrected_text is not what the spans make of the served text; send one of the two"
        )
    return text, spans


def check_served(served: str, body: CorrectionRequest) -> None:
    """Raises `Unprocessable` where the sender corrects another text than the one that was served."""
    if body.served_sha256 not in (None, sha256(served.encode()).hexdigest()):
        raise Unprocessable(
            "served_sha256 is not of the text that was served; read it again and correct that"
        )


def check_limits(served: str, text: str, spans: list[Span], limits: CorrectionLimits) -> None:
    """Raises `Unprocessable` on a correction that is no correction of this text."""
    if spans and not text.strip():
        raise Unprocessable("the corrected text is empty; say what the answer should have been")
    allowed = max(limits.max_edit_ratio, limits.small_edit / max(len(served), 1))
    if edit_ratio(served, spans) > allowed:
        raise Unprocessable("this changes most of the answer; correct the wrong words and leave the others")


def check_length(text: str, limits: CorrectionLimits) -> None:
    """Before two texts are compared, which takes long for long ones. Raises `Unprocessable`."""
    if len(text) > limits.max_code_points:
        raise Unprocessable(f"the corrected text is longer than {limits.max_code_points} code points")


def author_of(body: CorrectionRequest, key: Key) -> str | None:
    """Whom the sender names. Raises `Forbidden` where a feedback token names another one."""
    if not isinstance(key, Visitor) or key.author is None:
        return body.author
    if body.author not in (None, key.author):
        raise Forbidden("this feedback token is for the corrections of another author; leave `author` out")
    return key.author


def feedback_router(replica: Replica) -> APIRouter:
    router = APIRouter()

    def read(body: CorrectionRequest, key: Key, idempotency_key: str | None) -> tuple[Correction, Response]:
        """The correction that the body makes of its response, not screened yet."""
        limits = replica.settings.corrections
        response = own_response(replica.store, body.response_id, key)
        if response.is_erased:
            raise Erased(f"response {response.id!r} was deleted; it can no longer be corrected")
        check_served(response.text, body)
        check_length(body.corrected_text or "", limits)
        text, spans = corrected(response.text, body)
        check_length(text, limits)
        check_limits(response.text, text, spans, limits)
        author = author_of(body, key)
        now = time.time()
        is_trusted = key.allows("admin")
        correction = Correction(
            id=f"corr-{uuid.uuid4().hex}",
            created=now,
            status="accepted" if spans else "nothing_wrong",
            response_id=response.id,
            corrected_text=text,
            spans=spans_to_json(spans),
            author=author,
            key_id=key.id,
            idempotency_key=idempotency_key,
            body_sha256=sha256(body.model_dump_json().encode()).hexdigest(),
            source=source_of(key, author),
            reviewed=now if is_trusted else None,
            reviewer=key.id if is_trusted else None,
        )
        return correction, response

    @router.post("/v1/feedback", status_code=201, responses=ANSWERS)
    @router.post("/feedback", status_code=201, responses=ANSWERS)
    async def correct(
        body: CorrectionRequest,
        key: Annotated[Key, Depends(may_correct_this)],
        options: Annotated[CorrectionOptions, Query()],
        http: HTTPResponse,
        idempotency_key: Annotated[str | None, Header(max_length=200)] = None,
    ) -> CorrectionAnswer | CorrectionPreview:
        """Say what was wrong with an answer. The same `Idempotency-Key` with the same body stores it once.

        With `dryrun=true` everything is checked and nothing stored.
        """

        def act() -> CorrectionAnswer | CorrectionPreview:
            correction, response = read(body, key, idempotency_key)
            screening = replica.settings.screening
            if options.dryrun:
                http.status_code = 200
                return _preview(foresee(replica.store, correction, response, screening), response)
            stored = receive(replica.store, correction, response, screening)
            if stored.id == correction.id:  # else it was sent before
                _trace(replica, stored, response)
            return correction_answer(stored, response)

        return await run_in_threadpool(act)

    return router


def _trace(replica: Replica, correction: Correction, response: Response) -> None:
    if replica.traces is not None:
        from serve.traces import Evaluation

        kinds = [span["kind"] for span in correction.spans]
        replica.traces.corrected(
            Evaluation(response.id, response.adapter, correction.id, correction.status, kinds)
        )


def _preview(correction: Correction, response: Response) -> CorrectionPreview:
    stored = correction_answer(correction, response)
    return CorrectionPreview(**stored.model_dump(exclude={"id", "object", "created"}))
