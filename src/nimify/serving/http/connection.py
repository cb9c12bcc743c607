"""One HTTP/1.1 connection: a small protocol class on the llhttp parser.

Its size is the point. A generic server passes every request through several layers and tasks; here a request is
parsed, handled and answered by plain calls in the event-loop turn in which its last byte arrives. Measured, that costs
a quarter of an ASGI server's time (docs/adr/0002-own-http-protocol.md). It also owns the deadlines that such servers
lack: for headers, for the body, for an idle connection and for a client that does not read its answer.

Requests on one connection are answered one at a time and in order; pipelined ones wait.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections import deque
from typing import TYPE_CHECKING, Any, Final

import httptools

from nimify.serving.faults import Kind, RequestFault, invalid
from nimify.serving.http.messages import STATUS_LINES, Request, Response, fault_response
from nimify.serving.spec import Limits

if TYPE_CHECKING:
    from nimify.serving.http.server import HttpServer

MAX_TARGET_BYTES: Final = 8 * 1024
MAX_HEADER_BYTES: Final = 64 * 1024
MAX_HEADERS: Final = 100
MAX_CHUNKS: Final = 65_536
"""Triton's limit, too: more chunks than that are an attack on the parser, not a body."""
MAX_FRAMING_BYTES: Final = 2 * 1024 * 1024
"""What chunk lengths, extensions and trailers may take on the wire beside the body."""
MAX_PIPELINED: Final = 32
"""Requests that may wait on a connection before it is read no further."""
LINGER_S: Final = 2.0
"""How long a refused client may go on sending before the connection is cut, so that it can read the refusal."""

_REQUEST_ID: Final = re.compile(rb"[A-Za-z0-9._:-]{1,128}")
_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
_SINGLE_HEADERS: Final = frozenset(
    {b"host", b"content-length", b"transfer-encoding", b"inference-header-content-length", b"content-encoding"}
)
"""Headers whose repetition would make two readers see two different requests."""


class HttpConnection(asyncio.Protocol):
    """Reads requests off one connection and writes the answers."""

    __slots__ = (
        "_active",
        "_body",
        "_body_bytes",
        "_chunks",
        "_closing",
        "_fault",
        "_header_bytes",
        "_header_count",
        "_headers",
        "_in_headers",
        "_keep_alive",
        "_limits",
        "_parser",
        "_pipelined",
        "_reading_paused",
        "_receiving",
        "_server",
        "_target",
        "_transport",
        "_wire_bytes",
        "_write_blocked",
        "deadline_s",
        "request_deadline_s",
    )

    def __init__(self, server: HttpServer, limits: Limits) -> None:
        self._server = server
        self._limits = limits
        self._parser: Any = httptools.HttpRequestParser(self)
        self._transport: Any = None
        self._active: Request | None = None
        self._pipelined: deque[Request] = deque()
        self._fault: RequestFault | None = None
        self._closing = False
        self._reading_paused = False
        self._write_blocked = False
        self._keep_alive = True
        self._receiving = False
        self._in_headers = False
        self._reset()
        self.deadline_s = 0.0
        self.request_deadline_s = 0.0

    def _reset(self) -> None:
        self._target = b""
        self._headers: dict[bytes, bytes] = {}
        self._header_bytes = 0
        self._header_count = 0
        self._body: list[bytes] = []
        self._body_bytes = 0
        self._wire_bytes = 0
        self._chunks = 0

    # --- the transport's calls ----------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self.deadline_s = self._server.now_s() + self._limits.header_timeout_s
        if not self._server.admit(self):
            self._refuse(RequestFault(Kind.UNAVAILABLE, "Too many connections; try again later.", retry_after_s=1))

    def connection_lost(self, exc: Exception | None) -> None:
        self._closing = True
        self._pipelined.clear()
        if self._active is not None:
            self._server.abandoned(self._active)
            self._active = None
        self._server.forget(self)
        # The parser knows us as we know it: without this, half a body would stay until a garbage collection.
        self._parser = None
        self._body = []

    def data_received(self, data: bytes) -> None:
        if self._closing:
            return  # lingering: what a refused client still sends is read and dropped
        self._wire_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            # The request itself is answered as if it had not asked; what follows is no HTTP that we speak.
            self._keep_alive = False
            if not self._end_after_last():
                self._close()
            return
        except httptools.HttpParserError:
            self._refuse(self._fault or invalid("The request is not valid HTTP/1.1."))
            return
        if self._fault is None and self._receiving and not self._closing:
            self._check_sizes()
        if self._fault is not None:
            self._refuse(self._fault)

    def _check_sizes(self) -> None:
        """Bound what the parser holds back: it reports a header or a chunk only when it is complete."""
        if self._in_headers:
            if self._wire_bytes > MAX_HEADER_BYTES + MAX_TARGET_BYTES:
                self._fault = RequestFault(Kind.HEADERS_TOO_LARGE, "The headers are too large.")
        elif self._wire_bytes > self._limits.max_body_bytes + MAX_HEADER_BYTES + MAX_FRAMING_BYTES:
            self._fault = self._too_large()

    def eof_received(self) -> bool:
        """A client that has sent all it wants to may still wait for its answer."""
        return self._end_after_last()

    def _end_after_last(self) -> bool:
        """Close behind the answer to the last request that arrived; false when every one is answered."""
        last = self._pipelined[-1] if self._pipelined else self._active
        if last is None:
            return False
        last.keep_alive = False
        return True

    def pause_writing(self) -> None:
        self._write_blocked = True
        self.deadline_s = self._server.now_s() + self._limits.body_timeout_s

    def resume_writing(self) -> None:
        self._write_blocked = False
        if self._active is None:
            self._idle()
            self._next_pipelined()

    # --- the parser's calls -------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        self._reset()
        self._receiving = self._in_headers = True
        self.deadline_s = self._server.now_s() + self._limits.header_timeout_s

    def on_url(self, url: bytes) -> None:
        self._target += url
        if len(self._target) > MAX_TARGET_BYTES:
            self._fail(RequestFault(Kind.TARGET_TOO_LONG, f"The target is longer than {MAX_TARGET_BYTES} bytes."))

    def on_header(self, name: bytes, value: bytes) -> None:
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
        if key in _SINGLE_HEADERS and key in self._headers:
            self._fail(invalid(f"The header {key.decode()} is given twice."))
        self._headers[key] = value

    def on_headers_complete(self) -> None:
        self._in_headers = False
        self.deadline_s = self._server.now_s() + self._limits.body_timeout_s
        headers = self._headers
        version = self._parser.get_http_version()
        if version == "1.1":
            if not headers.get(b"host"):
                self._fail(invalid("A Host header is required."))
        elif version != "1.0":
            self._fail(invalid("Only HTTP/1.1 and HTTP/1.0 are spoken here."))
        encoding = headers.get(b"transfer-encoding")
        if encoding is not None and (encoding.lower() != b"chunked" or version == "1.0"):
            self._fail(invalid("The only transfer encoding that is understood is 'chunked' in HTTP/1.1."))
        length = headers.get(b"content-length")
        if length is not None and int(length) > self._limits.max_body_bytes:
            self._fail(self._too_large())
        expect = headers.get(b"expect")
        if expect is not None:
            if expect.lower() != b"100-continue":
                self._fail(RequestFault(Kind.EXPECTATION_FAILED, "Only 'Expect: 100-continue' is understood."))
            if self._active is None and not self._pipelined:
                self._transport.write(_CONTINUE)

    def on_body(self, body: bytes) -> None:
        self._body_bytes += len(body)
        if self._body_bytes > self._limits.max_body_bytes:
            self._fail(self._too_large())
        self._body.append(body)

    def on_chunk_header(self) -> None:
        self._chunks += 1
        if self._chunks > MAX_CHUNKS:
            self._fail(invalid(f"The body has more than {MAX_CHUNKS} chunks."))

    def on_message_complete(self) -> None:
        self._receiving = False
        self._wire_bytes = 0
        body = self._body
        headers = self._headers
        request = Request(
            self._parser.get_method(),
            self._target.partition(b"?")[0],
            headers,
            body[0] if len(body) == 1 else b"".join(body),
            self._request_id(headers.get(b"x-request-id")),
        )
        request.received_ns = time.perf_counter_ns()
        request.keep_alive = self._parser.should_keep_alive() and self._parser.get_http_version() == "1.1"
        self._body = []
        if self._active is None and not self._write_blocked:
            self._handle(request)
            return
        self._pipelined.append(request)
        if len(self._pipelined) >= MAX_PIPELINED and not self._reading_paused:
            self._reading_paused = True
            self._transport.pause_reading()

    def _request_id(self, given: bytes | None) -> str:
        if given is not None and _REQUEST_ID.fullmatch(given):
            return given.decode("ascii")
        return self._server.new_request_id()

    def _too_large(self) -> RequestFault:
        return RequestFault(Kind.TOO_LARGE, f"The body is longer than {self._limits.max_body_bytes} bytes.")

    def _fail(self, fault: RequestFault) -> None:
        """Stop the parser; `data_received` answers with the first fault."""
        if self._fault is None:
            self._fault = fault
        raise _StopParsing  # not the fault itself: its traceback would hold this connection, and we hold the fault

    # --- answering ----------------------------------------------------------------------------------------------

    def _handle(self, request: Request) -> None:
        self._active = request
        self.deadline_s = 0.0
        self.request_deadline_s = self._server.now_s() + self._limits.request_timeout_s

        def reply(response: Response) -> None:
            self._answer(request, response)

        self._server.dispatch(request, reply)

    def _answer(self, request: Request, response: Response) -> None:
        """Write the answer to the active request; a late one, after a timeout or for a lost client, is dropped."""
        if self._active is not request:
            return
        self._active = None
        self.request_deadline_s = 0.0
        keep_alive = request.keep_alive and not (self._server.draining and not self._pipelined)
        self._write(response, request, keep_alive=keep_alive)
        self._server.answered(request, response)
        if not keep_alive:
            self._close()
        elif not self._write_blocked:
            self._idle()
            if self._pipelined:
                self._next_pipelined()

    def _write(self, response: Response, request: Request | None, *, keep_alive: bool) -> None:
        body = response.body
        head = b"".join(
            (
                STATUS_LINES[response.status],
                self._server.common_headers,
                b"content-type: ",
                response.content_type,
                b"\r\ncontent-length: %d\r\n" % len(body),
                response.headers,
                b"x-request-id: " + request.id.encode() + b"\r\n" if request is not None else b"",
                b"\r\n" if keep_alive else b"connection: close\r\n\r\n",
            )
        )
        if request is not None and request.method == b"HEAD":
            body = b""
        if len(body) > 65536:
            self._transport.writelines((head, body))
        else:
            self._transport.write(head + body)

    def _idle(self) -> None:
        """Wait for the next request; its first bytes may have come already."""
        wait_s = self._limits.header_timeout_s if self._receiving else self._limits.keep_alive_s
        self.deadline_s = self._server.now_s() + wait_s

    def _next_pipelined(self) -> None:
        while self._pipelined and self._active is None and not self._closing and not self._write_blocked:
            self._handle(self._pipelined.popleft())
        if self._reading_paused and not self._pipelined and not self._closing:
            self._reading_paused = False
            self._transport.resume_reading()

    def _refuse(self, fault: RequestFault) -> None:
        """Answer what is not a whole request, and end the connection."""
        if self._closing or self._active is not None:
            # Answers must come in order, and nothing behind a broken request can be trusted: just cut.
            self._abort_after_active()
            return
        response = fault_response(fault, self._target)
        self._body = []
        self._write(response, None, keep_alive=False)
        self._server.refused(response)
        self._linger()

    def _abort_after_active(self) -> None:
        self._pipelined.clear()
        if self._active is not None:
            self._active.keep_alive = False
            self._transport.pause_reading()
            self._reading_paused = True

    def _linger(self) -> None:
        """Close after a while: closing on a client that still sends would cost it our answer."""
        self._closing = True
        self._receiving = False  # it has its answer: a service that stops need not wait for the rest of it
        self.deadline_s = self._server.now_s() + LINGER_S
        if self._transport.can_write_eof():
            self._transport.write_eof()

    def _close(self) -> None:
        self._closing = True
        # Closing waits until the last answer is taken: not for ever.
        self.deadline_s = self._server.now_s() + self._limits.body_timeout_s
        self._transport.close()

    # --- the server's calls -------------------------------------------------------------------------------------

    @property
    def busy(self) -> bool:
        """Whether a request is being received or answered."""
        return self._active is not None or bool(self._pipelined) or self._receiving

    def close_if_idle(self) -> None:
        """End a connection that has nothing to do."""
        if not self.busy and not self._closing:
            self._close()

    def abort(self) -> None:
        """Cut the connection at once."""
        self._closing = True
        self._transport.abort()

    def check_deadlines(self, now_s: float) -> None:
        """Act on what is overdue; called a few times a second."""
        if self._active is not None and now_s >= self.request_deadline_s:
            self._time_out(self._active)
        elif self.deadline_s and now_s >= self.deadline_s:
            if self._closing or self._write_blocked:
                self.abort()
            elif self._receiving:
                self._refuse(RequestFault(Kind.RECEIPT_TIMEOUT, "The request did not arrive in time."))
            elif self._active is None:
                self._close()

    def _time_out(self, request: Request) -> None:
        self._server.timed_out(request)
        fault = RequestFault(Kind.DEADLINE_EXCEEDED, "The answer was not ready in time.")
        self._answer(request, fault_response(fault, request.path))


class _StopParsing(Exception):
    """What a parser's call raises so that the parser reads no further; the fault is kept beside it."""
