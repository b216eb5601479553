"""OpenTelemetry: a trace of each answer, refusal and run, an event for each correction, and no word that was said.

OpenTelemetry's own `OTEL_*` variables say where they go. Names are those of its conventions for generative AI;
https://opentelemetry.io/docs/specs/semconv/gen-ai/. Imported only where `traces` is on.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version

from opentelemetry import trace
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.context import Context
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor, LogRecordExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.trace import SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

NAME = "errata"
EVALUATION = "gen_ai.evaluation.result"
CLOSE_S = 2.0
"""How long a stop waits for the collector; what it has not taken by then is lost."""

Value = str | int | float | Sequence[str]


@dataclass(frozen=True)
class Stage:
    name: str
    begin_s: float  # since the work began, as all times here
    end_s: float
    attributes: Mapping[str, Value | None] = field(default_factory=dict)


@dataclass(frozen=True)
class Trace:
    """One span, and in it one for each stage."""

    name: str
    stages: Sequence[Stage]
    total_s: float
    attributes: Mapping[str, Value | None]
    """Those that are None are left out."""
    traceparent: str | None = None
    """The caller's span, as it named it in the W3C header."""
    error: str | None = None
    """What kind of failure of the server's it was."""
    kind: SpanKind = SpanKind.SERVER


@dataclass(frozen=True)
class Evaluation:
    response_id: str
    version: str
    correction_id: str
    status: str
    kinds: Sequence[str]
    """Of the spans that were corrected; none where nothing was wrong."""


class Traces:
    def __init__(self, spans: SpanExporter, events: LogRecordExporter, instance_id: str) -> None:
        own = {"service.version": version("errata-server"), "service.instance.id": instance_id}
        named = {} if "OTEL_SERVICE_NAME" in os.environ else {"service.name": NAME}
        resource = Resource.create({**named, **own})
        self._spans = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._spans.add_span_processor(BatchSpanProcessor(spans))
        self._events = LoggerProvider(resource=resource, shutdown_on_exit=False)
        self._events.add_log_record_processor(BatchLogRecordProcessor(events))
        self._tracer = self._spans.get_tracer(NAME)
        self._logger = self._events.get_logger(NAME)
        self._propagator = TraceContextTextMapPropagator()

    def ended(self, whole: Trace) -> None:
        """Told as the work ends, so that nothing waits for it while it runs."""
        began = time.time_ns() - _nanoseconds(whole.total_s)
        span = self._tracer.start_span(
            whole.name,
            context=self._parent(whole.traceparent),
            kind=whole.kind,
            attributes=_given(whole.attributes),
            start_time=began,
        )
        inside = trace.set_span_in_context(span)
        for stage in whole.stages:
            child = self._tracer.start_span(
                stage.name,
                context=inside,
                attributes=_given(stage.attributes),
                start_time=began + _nanoseconds(stage.begin_s),
            )
            child.end(began + _nanoseconds(stage.end_s))
        if whole.error is not None:
            span.set_attribute("error.type", whole.error)
            span.set_status(Status(StatusCode.ERROR))
        span.end(began + _nanoseconds(whole.total_s))

    def corrected(self, evaluation: Evaluation) -> None:
        is_right = not evaluation.kinds
        self._logger.emit(
            LogRecord(
                timestamp=time.time_ns(),
                severity_number=SeverityNumber.INFO,
                event_name=EVALUATION,
                attributes={
                    "gen_ai.evaluation.name": "correction",
                    "gen_ai.evaluation.score.value": 1.0 if is_right else 0.0,
                    "gen_ai.evaluation.score.label": "nothing_wrong" if is_right else "corrected",
                    "gen_ai.evaluation.explanation": ", ".join(evaluation.kinds) or "nothing wrong",
                    "gen_ai.response.id": evaluation.response_id,
                    "errata.adapter.version": evaluation.version,
                    "errata.correction.id": evaluation.correction_id,
                    "errata.correction.status": evaluation.status,
                },
            )
        )

    def flush(self) -> None:
        self._spans.force_flush()
        self._events.force_flush()

    def close(self) -> None:
        """Send what waits, for no longer than `CLOSE_S`: the SDK waits as long as a silent collector may take."""
        deadline = time.monotonic() + CLOSE_S
        closing = [
            threading.Thread(target=end, daemon=True) for end in (self._spans.shutdown, self._events.shutdown)
        ]
        for thread in closing:
            thread.start()
        for thread in closing:
            thread.join(max(0.0, deadline - time.monotonic()))

    def _parent(self, traceparent: str | None) -> Context | None:
        return None if traceparent is None else self._propagator.extract({"traceparent": traceparent})


def to_collector(instance_id: str) -> Traces:
    """By OTLP over HTTP. Raises `ImportError` without the extra `otel`."""
    from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    return Traces(OTLPSpanExporter(), OTLPLogExporter(), instance_id)


def _given(attributes: Mapping[str, Value | None]) -> dict[str, Value]:
    return {name: value for name, value in attributes.items() if value is not None}


def _nanoseconds(seconds: float) -> int:
    return round(seconds * 1e9)
