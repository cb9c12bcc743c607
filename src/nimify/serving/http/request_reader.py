"""Bytes to requests: what a client may send, bounded while it is read.

The parser reports a header or a chunk only when it is complete, so what it holds back is bounded by the bytes on the
wire. A large body is put together as it comes, so that no step of it takes long.
"""

from __future__ import annotations

import mmap
import re
import time
from collections.abc import Callable
from typing import Any, Final, Protocol

import httptools

from nimify.serving.body_budget import BodyBudget
from nimify.serving.failures import is_out_of_memory, out_of_memory
from nimify.serving.faults import Kind, RequestFault, detached, invalid
from nimify.serving.http.messages import Body, Request
from nimify.serving.spec import Limits

MAX_TARGET_BYTES: Final = 8 * 1024
MAX_HEADER_BYTES: Final = 64 * 1024
MAX_HEADERS: Final = 100
MAX_CHUNKS: Final = 65_536
"""Triton's limit, too: more chunks than that are an attack on the parser, not a body."""
MAX_FRAMING_BYTES: Final = 2 * 1024 * 1024
"""What chunk lengths, extensions and trailers may take on the wire beside the body."""
LARGE_BODY: Final = 1 << 20
"""From here on joining the parts of a body would hold up everybody else."""

_REQUEST_ID: Final = re.compile(rb"[A-Za-z0-9._:-]{1,128}")
_SINGLE_HEADERS: Final = frozenset(
    {
        b"host",
        b"content-length",
        b"transfer-encoding",
        b"inference-header-content-length",
        b"content-encoding",
        b"authorization",
        b"x-api-key",
        b"origin",
    }
)
"""Headers whose repetition would make two readers see two different requests, or two callers."""


class RequestSink(Protocol):
    """Who is told what has arrived: the connection."""

    def message_begun(self) -> None:
        """The first byte of a request is there."""
        ...

    def headers_received(self, target: bytes, headers: dict[bytes, bytes], *, has_body: bool) -> None:
        """All headers of a request are there.

        Raises:
            RequestFault: Its body need not be read.
        """
        ...

    def request_received(self, request: Request) -> None:
        """A request is whole."""
        ...


class RequestReader:
    """Reads the requests of one connection.

    Attributes:
        receiving: Whether a request has begun and is not whole.
        upgrade_asked: Whether what follows the last request is no HTTP that we speak.
        target: Of the request that is being received, as sent.
        headers: What is known of its headers; values by lower-case name.
    """

    __slots__ = (
        "_body",
        "_body_bytes",
        "_budget",
        "_chunks",
        "_fault",
        "_header_bytes",
        "_header_count",
        "_in_headers",
        "_limits",
        "_new_id",
        "_parser",
        "_sink",
        "_whole",
        "_wire_bytes",
        "headers",
        "receiving",
        "target",
        "upgrade_asked",
    )

    def __init__(self, sink: RequestSink, limits: Limits, budget: BodyBudget, new_id: Callable[[], str]) -> None:
        self._sink: RequestSink | None = sink
        self._limits = limits
        self._budget = budget
        self._new_id = new_id
        self._parser: Any = httptools.HttpRequestParser(self)
        self._fault: RequestFault | None = None
        self._in_headers = False
        self.receiving = False
        self.upgrade_asked = False
        self._reset()

    def _reset(self) -> None:
        self.target = b""
        self.headers: dict[bytes, bytes] = {}
        self._header_bytes = 0
        self._header_count = 0
        self._body: list[bytes] = []
        self._whole: Any = None
        self._body_bytes = 0
        self._wire_bytes = 0
        self._chunks = 0

    def feed(self, data: bytes) -> RequestFault | None:
        """Read what has arrived; why it is no request, if it is none. Nothing behind that can be trusted.

        The fault is given back and not raised: with its traceback it would hold the connection, and we hold the fault.
        """
        self._wire_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self.upgrade_asked = True
            return None
        except httptools.HttpParserError as error:
            if self._fault is None and is_out_of_memory(error.__context__):
                return out_of_memory()
            return self._fault or invalid("The request is not valid HTTP/1.1.")
        if self._fault is None and self.receiving:
            self._check_sizes()
        return self._fault

    def close(self) -> None:
        """Let go of everything; nothing is fed afterwards."""
        # The parser knows us as we know it: without this, half a body would stay until a garbage collection.
        self._parser = self._sink = None
        self.drop_body()

    def drop_body(self) -> None:
        """Let go of a body that will never be whole."""
        self.receiving = False
        self._body, self._whole = [], None
        self._budget.give_back(self._body_bytes)
        self._body_bytes = 0

    def _check_sizes(self) -> None:
        if self._in_headers:
            if self._wire_bytes > MAX_HEADER_BYTES + MAX_TARGET_BYTES:
                self._fault = RequestFault(Kind.HEADERS_TOO_LARGE, "The headers are too large.")
        elif self._wire_bytes > self._limits.max_body_bytes + MAX_HEADER_BYTES + MAX_FRAMING_BYTES:
            self._fault = too_large(self._limits)

    # --- the parser's calls -------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """A request begins."""
        self._reset()
        self.receiving = self._in_headers = True
        if self._sink is not None:
            self._sink.message_begun()

    def on_url(self, url: bytes) -> None:
        """A piece of the target."""
        self.target += url
        if len(self.target) > MAX_TARGET_BYTES:
            self._fail(RequestFault(Kind.TARGET_TOO_LONG, f"The target is longer than {MAX_TARGET_BYTES} bytes."))

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header or, behind a body in chunks, one trailer."""
        self._header_count += 1
        self._header_bytes += len(name) + len(value)
        if self._header_count > MAX_HEADERS or self._header_bytes > MAX_HEADER_BYTES:
            self._fail(
                RequestFault(
                    Kind.HEADERS_TOO_LARGE, f"More than {MAX_HEADERS} headers, or {MAX_HEADER_BYTES} bytes of them."
                )
            )
        if not self._in_headers:
            return  # a trailer: counted, and otherwise ignored
        key = name.lower()
        if key in _SINGLE_HEADERS and key in self.headers:
            self._fail(invalid(f"The header {key.decode()} is given twice."))
        self.headers[key] = value

    def on_headers_complete(self) -> None:
        """The end of the headers."""
        self._in_headers = False
        headers = self.headers
        version = self._parser.get_http_version()
        if version == "1.1":
            if not headers.get(b"host"):
                self._fail(invalid("A Host header is required."))
        elif version != "1.0":
            self._fail(invalid("Only HTTP/1.1 and HTTP/1.0 are spoken here."))
        encoding = headers.get(b"transfer-encoding")
        if encoding is not None and (encoding.lower() != b"chunked" or version == "1.0"):
            self._fail(invalid("The only transfer encoding that is understood is 'chunked' in HTTP/1.1."))
        length = int(headers.get(b"content-length", b"0"))
        if length > self._limits.max_body_bytes:
            self._fail(too_large(self._limits))
        if self._sink is not None:
            try:
                self._sink.headers_received(self.target, headers, has_body=length > 0 or encoding is not None)
            except RequestFault as fault:
                self._fail(fault)
        if length > LARGE_BODY:
            self._whole = mmap.mmap(-1, length)  # takes memory as it is filled

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        size = len(body)
        self._body_bytes += size
        if self._body_bytes > self._limits.max_body_bytes:
            self._body_bytes -= size
            self._fail(too_large(self._limits))
        if not self._budget.take(size):
            self._body_bytes -= size
            self._fail(RequestFault(Kind.UNAVAILABLE, "Too much is being sent at once; try again.", retry_after_s=1))
        if self._whole is None:
            self._body.append(body)
            if self._body_bytes > LARGE_BODY:
                self._whole, self._body = bytearray().join(self._body), []
        elif type(self._whole) is bytearray:
            self._whole += body
        else:
            self._whole[self._body_bytes - size : self._body_bytes] = body

    def on_chunk_header(self) -> None:
        """The length of a chunk."""
        self._chunks += 1
        if self._chunks > MAX_CHUNKS:
            self._fail(invalid(f"The body has more than {MAX_CHUNKS} chunks."))

    def on_message_complete(self) -> None:
        """The end of the request."""
        self.receiving = False
        self._wire_bytes = 0
        headers = self.headers
        request = Request(
            self._parser.get_method(),
            self.target.partition(b"?")[0],
            headers,
            self._taken_body(),
            self._request_id(headers.get(b"x-request-id")),
        )
        request.held_bytes = self._body_bytes
        self._body_bytes = 0
        request.received_ns = time.perf_counter_ns()
        request.keep_alive = self._parser.should_keep_alive() and self._parser.get_http_version() == "1.1"
        if self._sink is not None:
            self._sink.request_received(request)

    def _taken_body(self) -> Body:
        if self._whole is not None:
            whole: Body = self._whole
            self._whole = None
            return whole
        body, self._body = self._body, []
        return body[0] if len(body) == 1 else b"".join(body)

    def _request_id(self, given: bytes | None) -> str:
        if given is not None and _REQUEST_ID.fullmatch(given):
            return given.decode("ascii")
        return self._new_id()

    def _fail(self, fault: RequestFault) -> None:
        """Stop the parser; `feed` gives back the first fault."""
        if self._fault is None:
            self._fault = detached(fault)
        raise _StopParsing


def too_large(limits: Limits) -> RequestFault:
    """The fault of a body that is longer than the service accepts."""
    return RequestFault(Kind.TOO_LARGE, f"The body is longer than {limits.max_body_bytes} bytes.")


class _StopParsing(Exception):
    """What a parser's call raises so that the parser reads no further."""
