"""HTTP requests as spans, in the words of OpenTelemetry's conventions for HTTP servers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from nimify.serving.access import HEALTH_TARGETS
from nimify.serving.http.messages import FaultResponse, Request, Response
from nimify.serving.paths import METRICS_PATH
from nimify.serving.tracing.trace import RequestTrace
from nimify.serving.tracing.tracer import Attributes, Tracer

UNTRACED: Final = HEALTH_TARGETS | {METRICS_PATH.encode()}
"""What machines ask every few seconds."""
_KNOWN_METHODS: Final = frozenset(
    {b"CONNECT", b"DELETE", b"GET", b"HEAD", b"OPTIONS", b"PATCH", b"POST", b"PUT", b"QUERY", b"TRACE"}
)


class HttpTraces:
    """Traces the requests of an HTTP server.

    Args:
        routes: What is served: by path, and then by method.
        scheme: `http` or `https`.
        health_route: What the platform asks besides; empty for nothing.
    """

    def __init__(
        self, tracer: Tracer, routes: Mapping[bytes, Mapping[bytes, Any]], scheme: str, health_route: str = ""
    ) -> None:
        self._tracer = tracer
        self._health_route = health_route.encode()
        self._routes = routes
        self._scheme = scheme

    def begin(self, request: Request) -> RequestTrace | None:
        """The trace of a request that has arrived; `None` when it is not to be recorded."""
        if request.path in UNTRACED or (request.method == b"GET" and request.path == self._health_route):
            return None
        known = request.method in _KNOWN_METHODS
        method, path = _text(request.method) if known else "_OTHER", _text(request.path)
        attributes: Attributes = {
            "http.request.method": method,
            "http.request.body.size": len(request.body),
            "url.scheme": self._scheme,
            "url.path": path,
            "nimify.request.id": request.id,
            **_server(request.headers.get(b"host", b"")),
        }
        if (agent := request.headers.get(b"user-agent")) is not None:
            attributes["user_agent.original"] = _text(agent)
        if not known:
            attributes["http.request.method_original"] = _text(request.method)
        name = method if known else "HTTP"
        if request.method in self._routes.get(request.path, ()):
            attributes["http.route"] = path
            name = f"{method} {path}"
        return self._tracer.begin(name, request.headers, attributes, request.received_ns)

    def answered(self, trace: RequestTrace, response: Response) -> None:
        """An answer was written."""
        if isinstance(response, FaultResponse):
            trace.fault = response.fault
        attributes: Attributes = {
            "http.response.status_code": response.status,
            "http.response.body.size": len(response.body),
        }
        self._tracer.end(trace, attributes, failed=response.status >= 500)

    def abandoned(self, trace: RequestTrace) -> None:
        """The client is gone."""
        self._tracer.end(trace, {"nimify.cancelled": True})


def _server(host: bytes) -> Attributes:
    """Where the client thinks that the service is."""
    name, colon, port = host.rpartition(b":")
    if colon and port.isdigit() and len(port) <= 5:
        return {"server.address": _text(name), "server.port": int(port)}
    return {"server.address": _text(host)} if host else {}


def _text(value: bytes) -> str:
    return value.decode("latin-1")
