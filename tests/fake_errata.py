"""A server in memory for the client's tests, which reads and writes the bodies of `serve.api.schema`."""

from __future__ import annotations

import asyncio
import inspect
import io
import json
import tarfile
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx2
from errata import AsyncErrata, Errata

from align.spans import Span, apply_spans, diff_spans
from serve.api import schema
from serve.api.errors import error_body

SERVED = "A red cup stands on the table. 🙂 A red cup? Yes, a fork too."
RESPONSE_ID = "chatcmpl-1"


COMPARISON = schema.ComparisonAnswer(
    kind="canary",
    version=schema.ComparedVersion.of("v0001", [True, False], [False] * 3),
    other=schema.ComparedVersion.of("base", [], []),
    num_answers=1000,
    evidence_corrected=1.5,
    evidence_failed=1.0,
    threshold=200.0,
)


class Bytes(httpx2.SyncByteStream, httpx2.AsyncByteStream):
    """A body that arrives in pieces of `size` bytes."""

    def __init__(self, body: bytes, size: int, is_cut_off: bool = False) -> None:
        self.pieces = [body[i : i + size] for i in range(0, len(body), size)]
        self.is_cut_off = is_cut_off
        self.is_closed = False

    def __iter__(self) -> Iterator[bytes]:
        yield from self.pieces
        self._end()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self.pieces:
            yield piece
        self._end()

    def _end(self) -> None:
        if self.is_cut_off:
            raise httpx2.ReadError("the connection broke off")

    def close(self) -> None:
        self.is_closed = True

    async def aclose(self) -> None:
        self.is_closed = True


@dataclass
class FakeErrata:
    piece_size: int = 1
    is_cut_off: bool = False
    statuses: list[str] = field(default_factory=lambda: ["requested", "running", "running", "admitted"])
    requests: list[httpx2.Request] = field(default_factory=list)
    failures: list[int | Exception] = field(default_factory=list)
    retry_after: str | None = None
    rows: list[dict[str, Any]] = field(default_factory=list)
    corrections: dict[str, dict[str, Any]] = field(default_factory=dict)
    body: Bytes | None = None

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        self.requests.append(request)
        if self.failures:
            failure = self.failures.pop(0)
            if isinstance(failure, Exception):
                raise failure
            headers = {} if self.retry_after is None else {"retry-after": self.retry_after}
            return httpx2.Response(
                failure, json=error_body(failure, f"refused with {failure}"), headers=headers
            )
        match request.method, request.url.path.removeprefix("/v1").split("/")[1:]:
            case "GET", ["models"]:
                names = ["errata-tiny", "errata-tiny@base", "errata-tiny@v0001"]
                base: Any = {
                    "adapter": "base",
                    "is_live": True,
                    "role": "live",
                    "parent": None,
                    "digest": None,
                }
                models = [schema.ModelAnswer(id=name, created=0, **base) for name in names]
                return answer(200, schema.ModelList(data=models))
            case "POST", ["chat", "completions"]:
                return self.chat(schema.ChatRequest.model_validate_json(request.content))
            case "POST", ["feedback"]:
                body = schema.CorrectionRequest.model_validate_json(request.content)
                if request.url.params.get("dryrun") == "true":
                    return self.preview(body)
                return self.correct(body, request.headers["idempotency-key"])
            case "GET", ["feedback"]:
                return answer(200, self.page(schema.CorrectionQuery.model_validate(dict(request.url.params))))
            case "GET", ["feedback", "export"]:
                format = schema.ExportQuery.model_validate(dict(request.url.params)).format
                data = tar(self.rows) if self.rows else format.encode() * 7
                self.body = Bytes(data, self.piece_size, is_cut_off=self.is_cut_off)
                return httpx2.Response(200, stream=self.body)
            case "GET", ["feedback", correction_id]:
                used_by = [USE.model_dump()]
                return httpx2.Response(200, json={**self.corrections[correction_id], "used_by": used_by})
            case "GET", ["responses", name]:
                return answer(200, record(name, self.corrections.values()))
            case "DELETE", ["responses", name]:
                return answer(200, erasure(name, "chat.completion.deleted"))
            case "DELETE", ["feedback", name]:
                return answer(200, erasure(name, "correction.deleted"))
            case "DELETE", ["sources", name]:
                return answer(200, erasure(name, "source.deleted"))
            case "GET", ["reviews"]:
                is_first = request.url.params["after"] == "0"
                return answer(200, schema.WaitingList(data=[WAITING] if is_first else []))
            case "POST", ["reviews", "corr-1"]:
                decision = schema.ReviewRequest.model_validate_json(request.content).decision
                status = {"release": "accepted", "reject": "rejected"}[decision]
                return answer(200, WAITING.model_copy(update={"status": status}))
            case "GET", ["adapters"]:
                listed = schema.AdapterList(
                    data=[SUMMARY], rollout=rollout("v0001"), in_force=rollout("base")
                )
                return answer(200, listed)
            case "GET", ["adapters", "comparison"]:
                return answer(200, COMPARISON)
            case "GET", ["adapters", "v0001"]:
                return answer(200, STORY)
            case "POST", ["adapters", "v0001", "admit"]:
                schema.Body.model_validate_json(request.content)
                return answer(200, ADAPTER)
            case "POST", ["adapters", "v0001", "retire"]:
                schema.Body.model_validate_json(request.content)
                return answer(200, ADAPTER.model_copy(update={"status": "retired"}))
            case "POST", ["adapters", "rollback"]:
                return answer(202, rollout("base"))
            case "POST", ["adapters", version, "promote"]:
                asked = schema.PromoteRequest.model_validate_json(request.content)
                return answer(202, rollout("base", version, asked.share) if asked.share else rollout(version))
            case "POST", ["alignments"]:
                schema.Body.model_validate_json(request.content)
                return answer(202, alignment("requested"))
            case "GET", ["alignments"]:
                return answer(200, schema.AlignmentList(data=[alignment("running")]))
            case "POST", ["alignments", "run-1", "cancel"]:
                schema.Body.model_validate_json(request.content)
                return answer(200, alignment("cancelled"))
            case "GET", ["alignments", "run-1", "report"]:
                return httpx2.Response(200, html="<h1>Größer</h1>")
            case "GET", ["alignments", "run-1"]:
                status = self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]
                return answer(200, alignment(status))
        return httpx2.Response(404, json=error_body(404, f"no {request.url.path}"))

    def chat(self, body: schema.ChatRequest) -> httpx2.Response:
        head = {"id": RESPONSE_ID, "created": 0, "model": body.model, "system_fingerprint": "v0001"}
        token = {"feedback_token": f"token of {body.user}"} if body.feedback_token else {}
        if not body.stream:
            message = {"role": "assistant", "content": SERVED}
            choice = {"index": 0, "message": message, "finish_reason": "stop", **token}
            return httpx2.Response(200, json={**head, "object": "chat.completion", "choices": [choice]})
        deltas = [{"role": "assistant", "content": ""}, *({"content": w} for w in words(SERVED)), {}]
        reasons = [None] * (len(deltas) - 1) + ["stop"]
        events = [
            {
                **head,
                "object": "chat.completion.chunk",
                "choices": [{"index": 0, "delta": d, "finish_reason": r, **(token if i == 0 else {})}],
            }
            for i, (d, r) in enumerate(zip(deltas, reasons, strict=True))
        ]
        lines = [f"data: {json.dumps(event, ensure_ascii=False)}\n\n" for event in events]
        lines = lines[:4] if self.is_cut_off else [*lines, "data: [DONE]\n\n"]
        self.body = Bytes("".join(lines).encode(), self.piece_size)
        return httpx2.Response(200, headers={"content-type": "text/event-stream"}, stream=self.body)

    def page(self, query: schema.CorrectionQuery) -> schema.CorrectionList:
        """Newest first, and no filter but the author."""
        newest_first = [schema.CorrectionAnswer(**one) for one in reversed(self.corrections.values())]
        found = [one for one in newest_first if query.author in (None, one.author)]
        start = next((i + 1 for i, one in enumerate(found) if one.id == query.after), 0)
        data = found[start : start + query.limit]
        return schema.CorrectionList(
            data=data,
            first_id=data[0].id if data else None,
            last_id=data[-1].id if data else None,
            has_more=len(found) > start + query.limit,
        )

    def preview(self, body: schema.CorrectionRequest) -> httpx2.Response:
        stored = self.correct(body, "preview").json()
        del self.corrections["corr-preview"]
        return answer(200, schema.CorrectionPreview(**{**stored, "object": "correction.preview"}))

    def correct(self, body: schema.CorrectionRequest, key: str) -> httpx2.Response:
        if body.response_id != RESPONSE_ID:
            return httpx2.Response(404, json=error_body(404, f"no response {body.response_id!r}"))
        spans = [Span(**span.model_dump()) for span in body.spans or []]
        text = body.corrected_text if body.corrected_text is not None else apply_spans(SERVED, spans)
        correction = schema.CorrectionAnswer(
            id=f"corr-{key}",
            response_id=body.response_id,
            created=0,
            status="nothing_wrong" if text == SERVED else "accepted",
            reason=None,
            served_text=SERVED,
            corrected_text=text,
            spans=[vars(span) for span in spans or diff_spans(SERVED, text)],
            adapter="v0001",
            author=body.author,
        )
        self.corrections[correction.id] = {**correction.model_dump(), "added_later": True}
        return httpx2.Response(201, json=self.corrections[correction.id])


WAITING = schema.WaitingCorrection(
    id="corr-1",
    response_id=RESPONSE_ID,
    created=0,
    sequence=7,
    status="quarantined",
    reason="repeated_insertion",
    explanation="the same words over several images",
    questioned=["acme cola"],
    source="key-1",
    author=None,
    served_text=SERVED,
    corrected_text=f"{SERVED} Acme cola.",
    spans=[{"start": len(SERVED), "end": len(SERVED), "replacement": " Acme cola.", "kind": "other"}],
)
ADAPTER = schema.AdapterAnswer(
    version="v0001",
    status="admitted",
    created=0,
    digest="ab",
    run_id="run-1",
    report={"verdict": "better"},
    tainted=None,
)
SUMMARY = schema.AdapterSummary(
    **ADAPTER.model_dump(exclude={"report"}),
    num_pairs=3,
    verdict="admitted",
    reasons=["admitted: better"],
    figures={"held_out.margin": schema.Change(estimate=0.5, low=0.2, high=0.8)},
)
USE = schema.UseAnswer(version="v0001", role="train", status="admitted", is_tainted=False)


def rollout(live: str, candidate: str | None = None, share: float | None = None) -> schema.RolloutAnswer:
    return schema.RolloutAnswer(
        generation=2,
        live=live,
        candidate=candidate,
        share=share or 0.0,
        phase="preparing",
        reason=None,
        effective_at=None,
        is_judged=False,
    )


def alignment(status: str) -> schema.AlignmentAnswer:
    return schema.AlignmentAnswer(
        id="run-1",
        status=status,
        trigger="request",
        created=0,
        ended=None,
        num_corrections=3,
        progress={"step": 1},
        reason=None,
        adapter="v0001" if status == "admitted" else None,
        report=None,
    )


STORY = schema.AdapterStoryAnswer(
    **ADAPTER.model_dump(),
    run=alignment("admitted"),
    manifest={"train": ["corr-1"], "seed": 0},
    erased=[],
    rollouts=[rollout("v0001")],
    num_responses=7,
)


def record(name: str, corrections: Iterable[dict[str, Any]]) -> schema.ResponseRecord:
    return schema.ResponseRecord(
        id=name,
        created=0,
        model="errata-tiny",
        adapter="v0001",
        messages=[{"role": "user", "content": [{"type": "text", "text": "What?"}]}],
        images=[],
        text=SERVED,
        num_tokens=17,
        num_prompt_tokens=4,
        finish_reason="stop",
        sampling={"temperature": 1.0},
        timings={"total_s": 0.5},
        key_id="key-1",
        user="ada",
        metadata={"page": "3"},
        corrections=[schema.CorrectionAnswer(**one) for one in corrections],
    )


def erasure(name: str, kind: Any) -> schema.ErasureAnswer:
    return schema.ErasureAnswer(
        id=name,
        object=kind,
        responses=[] if kind == "correction.deleted" else [RESPONSE_ID],
        corrections=["corr-1"],
        tainted=["v0001"],
        alignment="run-1",
    )


def answer(status: int, body: Any) -> httpx2.Response:
    return httpx2.Response(status, json=body.model_dump())


def tar(rows: Iterable[dict[str, Any]]) -> bytes:
    """An export as the server sends it: what failed is named in a file beside the rows."""
    buffer = io.BytesIO()
    files = {"errata.jsonl": "".join(json.dumps(row) + "\n" for row in rows), "failures.jsonl": "{}\n"}
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as file:
        for name, text in files.items():
            member = tarfile.TarInfo(f"errata-openai/{name}")
            member.size = len(text.encode())
            file.addfile(member, io.BytesIO(text.encode()))
    return buffer.getvalue()


def words(text: str) -> list[str]:
    return [word + " " for word in text.split(" ")[:-1]] + [text.split(" ")[-1]]


class Session:
    """One client, sync or async, used the same way: `do` gives what a call gives, awaited where that is needed."""

    def __init__(
        self, kind: str, server: Callable[[httpx2.Request], httpx2.Response], **options: Any
    ) -> None:
        transport = httpx2.MockTransport(server)
        self._runner = asyncio.Runner()
        self.client: Any = (
            Errata(http_client=httpx2.Client(transport=transport), **options)
            if kind == "sync"
            else AsyncErrata(http_client=httpx2.AsyncClient(transport=transport), **options)
        )

    def do(self, result: Any) -> Any:
        async def wait() -> Any:
            return await result

        return self._runner.run(wait()) if inspect.isawaitable(result) else result

    def items(self, pages: Any) -> list[Any]:
        """All that a list of several pages holds."""

        async def read() -> list[Any]:
            return [item async for item in pages]

        return self._runner.run(read()) if hasattr(pages, "__aiter__") else list(pages)

    def texts(self, stream: Any, limit: int | None = None) -> list[str]:
        """What a stream yields, inside its context manager; at most `limit` texts."""

        async def read() -> list[str]:
            texts = []
            async with stream:
                async for text in stream:
                    texts.append(text)
                    if len(texts) == limit:
                        break
            return texts

        if hasattr(stream, "__aiter__"):
            return self._runner.run(read())
        with stream:
            return [text for text, _ in zip(stream, range(limit or 10**6), strict=False)]

    def close(self) -> None:
        self.do(self.client.close())
        self._runner.close()
