"""A request as it arrived, and a response before it is bytes."""

from __future__ import annotations

import mmap
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any, Final

import orjson

from nimify.serving.batching import Job
from nimify.serving.faults import Kind, RequestFault
from nimify.serving.tracing.trace import RequestTrace

JSON: Final = b"application/json"
OCTETS: Final = b"application/octet-stream"

_CHALLENGE: Final = b'www-authenticate: Bearer realm="nimify"\r\n'

STATUS_BY_KIND: Final[Mapping[Kind, int]] = {
    Kind.INVALID_ARGUMENT: 400,
    Kind.REFUSED_BY_MODEL: 400,
    Kind.UNAUTHENTICATED: 401,
    Kind.NOT_FOUND: 404,
    Kind.METHOD_NOT_ALLOWED: 405,
    Kind.UNSUPPORTED: 400,
    Kind.UNSUPPORTED_ENCODING: 415,
    Kind.TOO_LARGE: 413,
    Kind.TARGET_TOO_LONG: 414,
    Kind.HEADERS_TOO_LARGE: 431,
    Kind.EXPECTATION_FAILED: 417,
    Kind.RECEIPT_TIMEOUT: 408,
    Kind.UNAVAILABLE: 503,
    Kind.DEADLINE_EXCEEDED: 504,
    Kind.INTERNAL: 500,
}
"""HTTP's table of faults; the only place that knows both."""

STATUSES: Final = tuple(sorted({200, 307, *STATUS_BY_KIND.values()}))
"""Every status that the service answers with; the labels of `nim_http_responses_total`."""

STATUS_LINES: Final = {
    status: b"HTTP/1.1 %d %s\r\n" % (status, HTTPStatus(status).phrase.encode()) for status in STATUSES
}


class Response:
    """A response before it is bytes.

    Attributes:
        status: One of `STATUSES`.
        body: The whole body.
        content_type: Its media type.
        headers: Further header lines, each ended by CRLF; made by nimify, never from a client's text.
    """

    __slots__ = ("body", "content_type", "headers", "status")

    def __init__(self, status: int, body: Body = b"", content_type: bytes = JSON, headers: bytes = b"") -> None:
        self.status = status
        self.body = body
        self.content_type = content_type
        self.headers = headers


class FaultResponse(Response):
    """The response to a request that failed.

    Attributes:
        fault: What it failed with.
    """

    __slots__ = ("fault",)

    def __init__(self, fault: RequestFault, document: dict[str, Any], headers: bytes) -> None:
        super().__init__(STATUS_BY_KIND[fault.kind], orjson.dumps(document), JSON, headers)
        self.fault = fault


Body = bytes | bytearray | memoryview | mmap.mmap
"""The content of a request or response."""

Reply = Callable[[Response], None]
"""Answers a request; called once, on the event loop."""


class Request:
    """A whole request.

    Attributes:
        method: As sent, e.g. `b"GET"`.
        path: The target without its query, as sent: never decoded, so that nothing can be spelled in two ways.
        headers: Values by lower-case name; the last one when a name is given twice.
        body: The whole body.
        id: The client's `X-Request-Id`, or one of ours.
        received_ns: `time.perf_counter_ns()` when it was complete.
        keep_alive: Whether the connection may be used again.
        job: What runs for it in the data plane, so that it can be given up.
        held_bytes: What it takes of the budget of all bodies.
        given_up: Whether nobody waits for the answer any more: its client left, or its time is over.
        trace: Where its times are noted, when it is traced.
    """

    __slots__ = (
        "body",
        "given_up",
        "headers",
        "held_bytes",
        "id",
        "job",
        "keep_alive",
        "method",
        "path",
        "received_ns",
        "trace",
    )

    def __init__(self, method: bytes, path: bytes, headers: dict[bytes, bytes], body: Body, id: str) -> None:
        self.method = method
        self.path = path
        self.headers = headers
        self.body = body
        self.id = id
        self.held_bytes = 0
        self.received_ns = 0
        self.keep_alive = True
        self.given_up = False
        self.job: Job | None = None
        self.trace: RequestTrace | None = None


def json_response(data: Any, status: int = 200, headers: bytes = b"") -> Response:
    """Plain data as a JSON response."""
    return Response(status, orjson.dumps(data), JSON, headers)


def fault_response(fault: RequestFault, path: bytes) -> FaultResponse:
    """A fault in the envelope of the API that was called.

    `/v2` answers `{"error": text}` as the Open Inference Protocol says. Everything else answers the union of the two
    envelopes that NIM clients read: OpenAI's flat object, and the nested `error`.
    """
    headers = b"retry-after: %d\r\n" % fault.retry_after_s if fault.retry_after_s else b""
    if fault.kind is Kind.UNAUTHENTICATED:
        headers += _CHALLENGE
    if path.startswith(b"/v2"):
        return FaultResponse(fault, {"error": fault.message}, headers)
    details = {"message": fault.message, "type": fault.kind.value, "code": STATUS_BY_KIND[fault.kind]}
    return FaultResponse(fault, {"object": "error", **details, "param": None, "error": details}, headers)
