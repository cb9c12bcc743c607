"""One HTTP/1.1 connection: a small protocol class on the llhttp parser.

Its size is the point. A generic server passes every request through several layers and tasks; here a request is
parsed and handed on by plain calls in the event-loop turn in which its last byte arrives. Measured, that costs a
quarter of an ASGI server's time (docs/adr/0002-own-http-protocol.md). It also owns the deadlines that such servers
lack: for headers, for the body, for an idle connection and for a client that does not read its answer.

Requests on one connection are answered one at a time and in order; pipelined ones wait.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any, Final

from nimify.serving.faults import Kind, RequestFault
from nimify.serving.http.content_encoding import PACKED_FROM_BYTES, is_packed
from nimify.serving.http.messages import STATUS_LINES, Request, Response, fault_response
from nimify.serving.http.request_reader import RequestReader
from nimify.serving.spec import Limits

if TYPE_CHECKING:
    from nimify.serving.http.server import HttpServer

MAX_PIPELINED: Final = 32
"""Requests that may wait on a connection before it is read no further."""
LINGER_S: Final = 2.0
"""How long a refused client may go on sending before the connection is cut, so that it can read the refusal."""
FIRST_REQUEST_S: Final = 2.0
"""How long a connection that was accepted just before the end may take to begin its first request."""

_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"


class HttpConnection(asyncio.Protocol):
    """Reads requests off one connection and writes the answers."""

    __slots__ = (
        "_active",
        "_closing",
        "_continue_due",
        "_first_request_s",
        "_keep_alive",
        "_limits",
        "_pipelined",
        "_reader",
        "_reading_paused",
        "_server",
        "_transport",
        "_write_blocked",
        "deadline_s",
        "request_deadline_s",
    )

    def __init__(self, server: HttpServer, limits: Limits) -> None:
        self._server = server
        self._limits = limits
        self._reader = RequestReader(self, limits, server.budget, server.new_request_id)
        self._transport: Any = None
        self._active: Request | None = None
        self._pipelined: deque[Request] = deque()
        self._first_request_s = 0.0
        self._closing = False
        self._continue_due = False
        self._reading_paused = False
        self._write_blocked = False
        self._keep_alive = True
        self.deadline_s = 0.0
        self.request_deadline_s = 0.0

    # --- the transport's calls ----------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._first_request_s = self._server.now_s() + FIRST_REQUEST_S
        self.deadline_s = self._server.now_s() + self._limits.header_timeout_s
        if not self._server.admit(self):
            self._refuse(RequestFault(Kind.UNAVAILABLE, "Too many connections; try again later.", retry_after_s=1))

    def connection_lost(self, exc: Exception | None) -> None:
        self._closing = True
        for request in self._pipelined:
            self._server.budget.give_back(request.held_bytes)
        self._pipelined.clear()
        if self._active is not None:
            self._server.abandoned(self._active)
            self._active = None
        self._server.forget(self)
        self._reader.close()

    def data_received(self, data: bytes) -> None:
        if self._closing:
            return  # lingering: what a refused client still sends is read and dropped
        fault = self._reader.feed(data)
        if fault is not None:
            self._refuse(fault)
        elif self._reader.upgrade_asked:
            # The request itself is answered as if it had not asked; what follows is no HTTP that we speak.
            self._keep_alive = False
            if not self._end_after_last():
                self._close()

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
            self._ask_to_continue()

    # --- the reader's calls -------------------------------------------------------------------------------------

    def message_begun(self) -> None:
        self._first_request_s = 0.0
        self.deadline_s = self._server.now_s() + self._limits.header_timeout_s

    def headers_received(self, target: bytes, headers: dict[bytes, bytes], *, has_body: bool) -> None:
        self.deadline_s = self._server.now_s() + self._limits.body_timeout_s
        if has_body:
            # The gate stands before every handler; here it spares a stranger's body, which nobody would look at.
            self._server.check_access(target.partition(b"?")[0], headers)
        expect = headers.get(b"expect")
        if expect is not None:
            if expect.lower() != b"100-continue":
                raise RequestFault(Kind.EXPECTATION_FAILED, "Only 'Expect: 100-continue' is understood.")
            self._continue_due = True
            self._ask_to_continue()

    def _ask_to_continue(self) -> None:
        """Answer `Expect: 100-continue`, when every answer before it has been given."""
        if self._continue_due and self._active is None and not self._pipelined:
            self._continue_due = False
            self._transport.write(_CONTINUE)

    def request_received(self, request: Request) -> None:
        self._continue_due = False
        if self._active is None and not self._write_blocked:
            self._handle(request)
            return
        self._pipelined.append(request)
        if len(self._pipelined) >= MAX_PIPELINED and not self._reading_paused:
            self._reading_paused = True
            self._transport.pause_reading()

    # --- answering ----------------------------------------------------------------------------------------------

    def _handle(self, request: Request) -> None:
        self._active = request
        self.deadline_s = 0.0
        self.request_deadline_s = self._server.now_s() + self._limits.request_timeout_s

        def reply(response: Response) -> None:
            packable = len(response.body) >= PACKED_FROM_BYTES and b"accept-encoding" in request.headers
            if packable and is_packed(request.path):
                self._server.pack(request, response, self._answer)
            else:
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
            if self._continue_due:
                self._ask_to_continue()

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
                self._server.cors_headers(request) if self._server.cors is not None else b"",
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
        wait_s = self._limits.header_timeout_s if self._reader.receiving else self._limits.keep_alive_s
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
        response = fault_response(fault, self._reader.target)
        self._write(response, None, keep_alive=False)
        self._server.refused(response)
        self._linger()

    def _abort_after_active(self) -> None:
        for request in self._pipelined:
            self._server.budget.give_back(request.held_bytes)
        self._pipelined.clear()
        if self._active is not None:
            self._active.keep_alive = False
            self._transport.pause_reading()
            self._reading_paused = True

    def _linger(self) -> None:
        """Close after a while: closing on a client that still sends would cost it our answer."""
        self._closing = True
        self._reader.drop_body()  # it has its answer: a service that stops need not wait for the rest of it
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
        return self._active is not None or bool(self._pipelined) or self._reader.receiving

    @property
    def awaited(self) -> bool:
        """Whether it was accepted a moment ago and its first request is under way: its client was let in."""
        return not self._closing and self._server.now_s() < self._first_request_s

    def close_if_idle(self) -> None:
        """End a connection that has nothing to do."""
        if not self.busy and not self._closing and not self.awaited:
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
            elif self._reader.receiving:
                self._refuse(RequestFault(Kind.RECEIPT_TIMEOUT, "The request did not arrive in time."))
            elif self._active is None:
                self._close()

    def _time_out(self, request: Request) -> None:
        self._server.timed_out(request)
        fault = RequestFault(Kind.DEADLINE_EXCEEDED, "The answer was not ready in time.")
        self._answer(request, fault_response(fault, request.path))
