"""A collector of traces: takes OTLP over HTTP as the protocol says, and keeps every span that it is sent."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1 import trace_pb2

SERVER = trace_pb2.Span.SPAN_KIND_SERVER
ERROR = trace_pb2.Status.STATUS_CODE_ERROR
UNSET = trace_pb2.Status.STATUS_CODE_UNSET


@dataclass(frozen=True)
class CollectedSpan:
    """One span, in plain values; ids are hexadecimal."""

    name: str
    kind: int
    trace_id: str
    span_id: str
    parent_id: str
    begun_ns: int
    ended_ns: int
    status: int
    status_text: str
    attributes: Mapping[str, Any]
    events: tuple[tuple[str, Mapping[str, Any]], ...]
    resource: Mapping[str, Any]
    schema: str


@dataclass
class Collector:
    """Listens on loopback while it is a context.

    Attributes:
        status: What it answers; with anything but 200 it keeps nothing.
        headers: Of the last request.
    """

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    _spans: list[CollectedSpan] = field(default_factory=list)
    _released: threading.Event = field(default_factory=threading.Event)
    requests: int = 0

    def __post_init__(self) -> None:
        self._released.set()
        collector = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                collector.requests += 1
                collector.headers = {name.lower(): value for name, value in self.headers.items()}
                collector._released.wait()
                status, answer = collector.take(self.path, body)
                try:
                    self.send_response(status)
                    self.send_header("content-type", "application/x-protobuf")
                    self.send_header("content-length", str(len(answer)))
                    self.end_headers()
                    self.wfile.write(answer)
                except OSError:
                    self.close_connection = True  # the service is gone

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._released.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def hang(self) -> None:
        """Answer nobody until the end."""
        self._released.clear()

    def take(self, path: str, body: bytes) -> tuple[int, bytes]:
        """Keep the spans of one export; the status and the body of the answer."""
        if self.status != 200:
            return self.status, b""
        assert path == "/v1/traces", path
        assert self.headers["content-type"] == "application/x-protobuf"
        if self.headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        request = ExportTraceServiceRequest.FromString(body)
        for of_resource in request.resource_spans:
            resource = _plain(of_resource.resource.attributes)
            for of_scope in of_resource.scope_spans:
                self._spans += [_collected(span, resource, of_scope.schema_url) for span in of_scope.spans]
        return 200, ExportTraceServiceResponse().SerializeToString()

    @property
    def spans(self) -> list[CollectedSpan]:
        """Everything so far."""
        return list(self._spans)

    def servers(self, **attributes: Any) -> list[CollectedSpan]:
        """Spans of requests that have these attributes, `_` for `.` in their names."""
        wanted = {name.replace("__", "."): value for name, value in attributes.items()}
        return [span for span in self.spans if span.kind == SERVER and wanted.items() <= dict(span.attributes).items()]

    def children(self, span: CollectedSpan) -> dict[str, CollectedSpan]:
        """The spans right below one, by name."""
        return {one.name: one for one in self.spans if one.parent_id == span.span_id}


def _collected(span: trace_pb2.Span, resource: Mapping[str, Any], schema: str) -> CollectedSpan:
    return CollectedSpan(
        name=span.name,
        kind=span.kind,
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex(),
        begun_ns=span.start_time_unix_nano,
        ended_ns=span.end_time_unix_nano,
        status=span.status.code,
        status_text=span.status.message,
        attributes=_plain(span.attributes),
        events=tuple((event.name, _plain(event.attributes)) for event in span.events),
        resource=resource,
        schema=schema,
    )


def _plain(attributes: Any) -> dict[str, Any]:
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in attributes}
