"""gRPC calls as spans, in the words of OpenTelemetry's conventions for RPC servers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from nimify.serving.access import HEALTH_TARGETS
from nimify.serving.faults import RequestFault
from nimify.serving.grpc.status import CODE_BY_KIND, StatusCode
from nimify.serving.tracing.trace import RequestTrace
from nimify.serving.tracing.tracer import Attributes, Tracer

if TYPE_CHECKING:
    from collections.abc import Container

    from nimify.serving.grpc.head import CallHead

_FAILED: Final = frozenset(
    {StatusCode.DEADLINE_EXCEEDED, StatusCode.UNIMPLEMENTED, StatusCode.INTERNAL, StatusCode.UNAVAILABLE}
)
"""Those of our codes that the conventions count as errors of a server."""


class GrpcTraces:
    """Traces the calls of a gRPC server.

    Args:
        methods: What is served, by `/package.Service/Method`.
    """

    def __init__(self, tracer: Tracer, methods: Container[bytes]) -> None:
        self._tracer = tracer
        self._methods = methods

    def begin(self, head: CallHead, begun_ns: int) -> RequestTrace | None:
        """The trace of a call that begins; `None` when it is not to be recorded."""
        if head.path in HEALTH_TARGETS:
            return None
        asked = head.path.decode("latin-1").lstrip("/")
        method = asked if head.path in self._methods else "_OTHER"
        attributes: Attributes = {"rpc.system.name": "grpc", "rpc.method": method}
        if method != asked:
            attributes["rpc.method_original"] = asked
        if (agent := head.metadata.get(b"user-agent")) is not None:
            attributes["user_agent.original"] = agent.decode("latin-1")
        name = method if method == asked else "grpc"
        return self._tracer.begin(name, head.metadata, attributes, begun_ns)

    def ended(self, trace: RequestTrace, code: StatusCode) -> None:
        """It is decided how a call ends."""
        self._tracer.end(trace, {"rpc.response.status_code": code.name}, failed=code in _FAILED)

    def begin_message(self, call: RequestTrace) -> RequestTrace | None:
        """The trace of a message that has arrived in a stream."""
        return self._tracer.begin_message("message", call)

    def end_message(self, trace: RequestTrace, fault: RequestFault | None = None) -> None:
        """It is known what a message is answered with."""
        trace.fault = fault
        self._tracer.end(trace, {}, failed=fault is not None and CODE_BY_KIND[fault.kind] in _FAILED)

    def drop_message(self, trace: RequestTrace) -> None:
        """Nobody waits for the answer to a message any more."""
        self._tracer.end(trace, {"nimify.cancelled": True})
