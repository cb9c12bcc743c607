"""Where spans go: the official SDK and exporter, put together as the settings and OpenTelemetry's variables say.

A span that has ended is put into a queue of bounded length, and a thread of the SDK's sends what is there. When nobody
takes them, spans are dropped; no request waits.
"""

from __future__ import annotations

import logging
import time
from typing import Final

from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter, SpanExporter

from nimify.errors import ConfigError, one_line, shortened
from nimify.serving.logs import Log
from nimify.serving.spec import ServiceSpec
from nimify.serving.tracing.settings import TracingSettings

_LONGEST_VALUE: Final = 1024
"""Characters of a text that a client chose, such as a path, that a span keeps."""
_QUIET_S: Final = 60.0
"""How long a message of the SDK is not logged again."""


def tracer_provider(settings: TracingSettings, spec: ServiceSpec, log: Log) -> TracerProvider:
    """What makes spans and sends them; it has a thread.

    Raises:
        ConfigError: A variable of OpenTelemetry's holds what the SDK or the exporter does not take.
    """
    _pass_on_logs(log)
    try:
        provider = TracerProvider(
            resource=_resource(settings, spec),
            shutdown_on_exit=False,
            span_limits=SpanLimits(max_attribute_length=_LONGEST_VALUE),
        )
        provider.add_span_processor(BatchSpanProcessor(_exporter(settings)))
    except ValueError as error:
        raise ConfigError(
            f"OpenTelemetry does not take what one of its variables holds: {shortened(one_line(str(error)))}.",
            field="OTEL_*",
        ) from error
    return provider


def _resource(settings: TracingSettings, spec: ServiceSpec) -> Resource:
    """Who sends the spans; what OpenTelemetry's own variables say wins."""
    told = OTELResourceDetector().detect().attributes
    named = {"service.name": settings.service_name} if settings.service_name else {}
    return Resource.create(
        {
            "service.name": spec.name,
            "service.version": spec.version,
            "nimify.model.digest": spec.model_digest,
            **told,
            **named,
        }
    )


def _exporter(settings: TracingSettings) -> SpanExporter:
    if settings.exporter == "console":
        return ConsoleSpanExporter()
    if settings.protocol == "grpc":
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcSpanExporter

        exporter: SpanExporter = GrpcSpanExporter(endpoint=settings.endpoint or None)
        return exporter
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    endpoint = f"{settings.endpoint.rstrip('/')}/v1/traces" if settings.endpoint else None
    return OTLPSpanExporter(endpoint=endpoint)


def _pass_on_logs(log: Log) -> None:
    """Let what the SDK has to say appear among our own lines, and in their form."""
    logger = logging.getLogger("opentelemetry")
    logger.handlers = [_LogHandler(log)]
    logger.propagate = False


class _LogHandler(logging.Handler):
    """Writes warnings of the SDK to our log; what it says all the time, once a minute."""

    def __init__(self, log: Log) -> None:
        super().__init__(logging.WARNING)
        self._log = log
        self._said_s: dict[str, float] = {}

    def emit(self, record: logging.LogRecord) -> None:
        now_s, message = time.monotonic(), str(record.msg)
        if now_s - self._said_s.get(message, -_QUIET_S) < _QUIET_S:
            return
        self._said_s[message] = now_s
        self._log.warning("tracing", reason=shortened(one_line(record.getMessage()), 300))
