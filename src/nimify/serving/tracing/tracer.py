"""Makes spans of what the service has noted down about requests."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping

from opentelemetry.context import Context
from opentelemetry.propagators.textmap import Getter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import SpanKind, Status, StatusCode, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from nimify.serving.logs import Log
from nimify.serving.spec import ServiceSpec
from nimify.serving.tracing.exporting import tracer_provider
from nimify.serving.tracing.settings import TracingSettings
from nimify.serving.tracing.trace import RequestTrace
from nimify.version import __version__

Attributes = dict[str, str | int | bool]

_SCHEMA = "https://opentelemetry.io/schemas/1.44.0"
"""The semantic conventions whose names of attributes are used."""


class Tracer:
    """Begins and ends the spans of requests.

    Args:
        settings: How to trace.
        spec: What is served.

    Raises:
        ConfigError: A variable of OpenTelemetry's holds what the SDK or the exporter does not take.
    """

    def __init__(self, settings: TracingSettings, spec: ServiceSpec, log: Log) -> None:
        self._provider: TracerProvider = tracer_provider(settings, spec, log)
        self._tracer = self._provider.get_tracer("nimify", __version__, _SCHEMA)
        self._propagator = TraceContextTextMapPropagator()

    def begin(
        self, name: str, headers: Mapping[bytes, bytes], attributes: Attributes, begun_ns: int
    ) -> RequestTrace | None:
        """The trace of a request that has arrived; `None` when it is not to be recorded.

        Args:
            name: Of the span.
            headers: Of the request, by lower-case name: its `traceparent` says whose child the span is.
            attributes: What is known of it already.
            begun_ns: When it arrived, on `time.perf_counter_ns()`.
        """
        context = self._propagator.extract(headers, Context(), _HEADERS)
        return self._begin(name, context, SpanKind.SERVER, attributes, begun_ns)

    def begin_message(self, name: str, call: RequestTrace) -> RequestTrace | None:
        """The trace of one of the messages of a call."""
        context = set_span_in_context(call.span, Context())
        return self._begin(name, context, SpanKind.INTERNAL, {}, time.perf_counter_ns())

    def _begin(
        self, name: str, context: Context, kind: SpanKind, attributes: Attributes, begun_ns: int
    ) -> RequestTrace | None:
        epoch_ns = time.time_ns() - time.perf_counter_ns()
        span = self._tracer.start_span(name, context, kind, attributes, start_time=epoch_ns + begun_ns)
        return RequestTrace(span, begun_ns, epoch_ns) if span.is_recording() else None

    def end(self, trace: RequestTrace, attributes: Attributes, *, failed: bool = False) -> None:
        """The request is answered, or nobody waits for it any more.

        Args:
            trace: Of the request.
            attributes: What is known of it now.
            failed: Whether the service is to blame for what became of it.
        """
        span, fault, ended_ns = trace.span, trace.fault, time.perf_counter_ns()
        within = set_span_in_context(span, Context())
        for name, begun_ns, phase_ended_ns in _phases(trace, ended_ns):
            phase = self._tracer.start_span(name, within, start_time=trace.epoch_ns + begun_ns)
            phase.end(trace.epoch_ns + phase_ended_ns)
        if trace.cache_hit is not None:
            attributes["nimify.cache.hit"] = trace.cache_hit
        if fault is not None:
            said: Attributes = {"exception.type": fault.kind.value, "exception.message": fault.message}
            span.add_event("exception", said, trace.epoch_ns + ended_ns)
        if failed:
            attributes["error.type"] = "internal" if fault is None else fault.kind.value
            span.set_status(Status(StatusCode.ERROR, None if fault is None else fault.message))
        span.set_attributes(attributes)
        span.end(trace.epoch_ns + ended_ns)

    def close(self) -> None:
        """Send what has not been sent yet; blocks, at worst for half a minute."""
        self._provider.shutdown()


def _phases(trace: RequestTrace, ended_ns: int) -> Iterator[tuple[str, int, int]]:
    """What a request went through: name, begin and end."""
    if not trace.queued_ns:
        return
    yield "parse", trace.received_ns, trace.queued_ns
    if trace.cache_hit:
        yield "cache", trace.queued_ns, trace.computed_ns
    else:
        yield "queue", trace.queued_ns, trace.started_ns or ended_ns
        if trace.started_ns:
            yield "compute", trace.started_ns, trace.computed_ns or ended_ns
    if trace.computed_ns:
        yield "reply", trace.computed_ns, ended_ns


class _Headers(Getter[Mapping[bytes, bytes]]):
    """Reads headers as the servers keep them."""

    def get(self, carrier: Mapping[bytes, bytes], key: str) -> list[str] | None:
        value = carrier.get(key.encode())
        return None if value is None else [value.decode("latin-1")]

    def keys(self, carrier: Mapping[bytes, bytes]) -> list[str]:
        return [name.decode("latin-1") for name in carrier]


_HEADERS = _Headers()
