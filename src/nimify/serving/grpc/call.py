"""One call, from its headers to its trailers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from nimify.serving.batching import Job
from nimify.serving.faults import Kind, RequestFault, invalid
from nimify.serving.grpc.codec import Content, Part, message_prefix
from nimify.serving.grpc.frames import ErrorCode, window_update_frame
from nimify.serving.grpc.head import CallHead
from nimify.serving.grpc.inbox import Inbox
from nimify.serving.grpc.methods import Method, Session, UnaryMethod
from nimify.serving.grpc.sending import Outbox
from nimify.serving.grpc.status import (
    CODE_BY_KIND,
    NO_GRPC,
    OK_TRAILERS,
    RESPONSE_HEADERS,
    StatusCode,
    fault_trailers,
)

if TYPE_CHECKING:
    from nimify.serving.grpc.connection import GrpcConnection
    from nimify.serving.grpc.server import GrpcServer
    from nimify.serving.tracing.grpc import GrpcTraces
    from nimify.serving.tracing.trace import RequestTrace


class Call:
    """One call.

    Attributes:
        stream: The number of its HTTP/2 stream.
        head: How it began.
        inbox: What arrives.
        outbox: What is to leave.
        method: What is called; `None` until it is known.
        session: The service's side, when messages come in a stream.
        job: What runs for it in the data plane, so that it can be given up.
        received_ns: `time.perf_counter_ns()` when its message, or its beginning, arrived.
        deadline_s: Event-loop time at which nobody waits any more; 0 for never.
        receipt_deadline_s: Event-loop time at which what has begun to arrive must be whole; 0 for never.
        half_closed: Whether the client has sent all it will.
        answered: Whether it is decided how the call ends.
        trace: Where its times are noted, when it is traced.
    """

    __slots__ = (
        "_begun_ns",
        "_connection",
        "_headers_sent",
        "_held_out",
        "_message",
        "_progress_s",
        "_server",
        "_timer",
        "answered",
        "deadline_s",
        "half_closed",
        "head",
        "inbox",
        "job",
        "method",
        "outbox",
        "receipt_deadline_s",
        "received_ns",
        "session",
        "stream",
        "trace",
    )

    def __init__(self, server: GrpcServer, connection: GrpcConnection, stream: int, head: CallHead) -> None:
        self._server = server
        self._connection = connection
        self.stream = stream
        self.head = head
        self.method: Method | None = None
        self.session: Session | None = None
        self.job: Job | None = None
        self.received_ns = self._begun_ns = time.perf_counter_ns()
        self.deadline_s = 0.0
        self.receipt_deadline_s = 0.0
        self.half_closed = False
        self.answered = False
        self.trace: RequestTrace | None = None
        self.inbox = Inbox(head, longest=server.limits.max_body_bytes, budget=server.budget)
        self.outbox = Outbox(connection.sender.stream_window)
        self._message: Content | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._held_out = 0
        self._headers_sent = False
        self._progress_s = 0.0

    # --- what arrives -------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Look at the headers: refuse the call, or wait for its messages."""
        self.receipt_deadline_s = self._server.now_s() + self._server.limits.body_timeout_s
        if self.head.refusal is not None:
            return
        if self._server.traces is not None:
            self.trace = self._server.traces.begin(self.head, self._begun_ns)
        try:
            self.method = self._server.admitted(self.head)
        except RequestFault as fault:
            self.fail(fault)
            return
        now_s = self._server.now_s()
        timeout_s = self.head.timeout_s
        if timeout_s is not None and timeout_s <= 0.0:
            self.time_out()
            return
        if isinstance(self.method, UnaryMethod):
            self.deadline_s = now_s + self._server.limits.request_timeout_s
        else:
            self.session = self.method.open(self)
        if timeout_s is not None and (not self.deadline_s or now_s + timeout_s < self.deadline_s):
            self.deadline_s = now_s + timeout_s
            self._timer = self._server.call_at(self.deadline_s, self.time_out)

    def data(self, content: bytes, *, end: bool) -> None:
        """A piece of the client's messages.

        Raises:
            StreamFault: It breaks the rules of HTTP/2.
        """
        self.inbox.count(len(content), end=end)
        self.half_closed = self.half_closed or end
        if self.answered:
            return
        if self.head.refusal is not None:
            if end:
                self._refuse(self.head.refusal)
            return
        try:
            if content:
                self._take(self.inbox.messages(content))
            if end and not self.answered:
                self._end_of_messages()
        except RequestFault as fault:
            self.fail(fault)
        except Exception as error:  # noqa: BLE001 - a fault of ours: this call's, not the connection's
            self.failed(error)

    def _take(self, messages: list[Content]) -> None:
        for content in messages:
            if self.session is not None:
                self.session.message(content)
            elif self._message is not None:
                raise invalid("This call takes one message.")
            else:
                self._message = content
        if messages and self.session is not None:
            self.receipt_deadline_s = self._server.now_s() + self._server.limits.body_timeout_s
            if self.session.accepting:
                self.inbox.release()

    def _end_of_messages(self) -> None:
        if self.inbox.partial:
            raise invalid("The call ends in the middle of a message.")
        self.receipt_deadline_s = 0.0
        if self.session is not None:
            self.session.half_closed()
        elif self._message is None:
            raise invalid("This call takes one message, and there is none.")
        else:
            content, self._message = self._message, None
            self.received_ns = time.perf_counter_ns()
            if self.trace is not None:
                self.trace.received_ns = self.received_ns
            self._server.run(self, content)

    def widen(self) -> None:
        """Let the client send more, if that is wanted."""
        session = self.session
        wanted = session is None or session.accepting or self.inbox.partial
        if self.half_closed or self.answered or not wanted:
            return
        if credit := self.inbox.window.widen():
            self._connection.sender.write(window_update_frame(self.stream, credit))

    def accept_more(self) -> None:
        """The session has looked at every message, and wants further ones."""
        self.inbox.release()
        self.widen()

    def _release_out(self) -> None:
        """Count out what is not queued any more."""
        self._server.budget.give_back(self._held_out - self.outbox.size)
        self._held_out = self.outbox.size

    # --- answering ----------------------------------------------------------------------------------------------

    def reply(self, *message: Part) -> None:
        """Answer with one message, given in pieces; for calls that take one. A late answer is dropped."""
        if self.answered:
            return
        self._settle(StatusCode.OK)
        if self._connection.sender.whole(self, RESPONSE_HEADERS, message, OK_TRAILERS):
            self._connection.sent(self)
            return
        if self._queue_message(message):
            self._finish(OK_TRAILERS)

    def send(self, *message: Part) -> None:
        """Send one of several messages, given in pieces."""
        if not self.answered and self._queue_message(message):
            self._connection.sender.ready(self)

    def end(self) -> None:
        """Say that there are no further messages."""
        if not self.answered:
            self._settle(StatusCode.OK)
            if not self._headers_sent:
                self._connection.sender.headers(self, RESPONSE_HEADERS)
            self._finish(OK_TRAILERS)

    def fail(self, fault: RequestFault) -> None:
        """End the call with a fault."""
        if self.answered:
            return
        if self.trace is not None:
            self.trace.fault = fault
        self._settle(CODE_BY_KIND[fault.kind])
        trailers = fault_trailers(fault)
        self._finish(trailers if self._headers_sent else RESPONSE_HEADERS + trailers)

    def failed(self, error: Exception) -> None:
        """End the call with whatever went wrong."""
        self.fail(self._server.failure(error))

    def _refuse(self, headers: bytes) -> None:
        """Answer what is no gRPC as HTTP does."""
        self._settle(StatusCode.INVALID_ARGUMENT)
        self._connection.sender.headers(self, headers)
        self._headers_sent = True
        if self._queue(NO_GRPC):
            self._finish(None)

    def _queue_message(self, message: Sequence[Part]) -> bool:
        if not self._headers_sent:
            self._headers_sent = True
            self._connection.sender.headers(self, RESPONSE_HEADERS)
        return self._queue(message_prefix(sum(map(len, message))), *message)

    def _queue(self, *parts: Part) -> bool:
        """Queue bytes; false, and the call is over, when too much of all calls is queued."""
        if not self._server.budget.take(sum(map(len, parts))):
            self._connection.reset(self, ErrorCode.ENHANCE_YOUR_CALM)
            return False
        if not self.outbox.size:
            self._progress_s = self._server.now_s()
        for part in parts:
            self.outbox.put(part)
        self._held_out = self.outbox.size
        return True

    def _finish(self, trailers: bytes | None) -> None:
        self.outbox.trailers = trailers
        self.outbox.ended = True
        self._connection.sender.ready(self)

    def progressed(self) -> None:
        """Some of what is queued has left."""
        self._release_out()
        self._progress_s = self._server.now_s()
        self._connection.worked()
        if self.session is not None and not self.answered:
            self.session.writable()

    def _settle(self, code: StatusCode) -> None:
        """Decide how the call ends, and count it."""
        self.answered = True
        self.job = None  # which knows the call: the two would stay until a garbage collection
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._message = None
        self.inbox.release()
        self._server.answered(self, code, (time.perf_counter_ns() - self._begun_ns) / 1e9)

    # --- giving up ----------------------------------------------------------------------------------------------

    def time_out(self) -> None:
        """The time of the call is over."""
        if not self.answered:
            self._give_up(timed_out=True)
            self.fail(RequestFault(Kind.DEADLINE_EXCEEDED, "The answer was not ready in time."))

    def gone(self) -> None:
        """The client does not want the answer, or is gone itself."""
        if not self.answered:
            self._give_up(timed_out=False)
            self._settle(StatusCode.CANCELLED)
        self.outbox.clear()
        self._release_out()

    def _give_up(self, *, timed_out: bool) -> None:
        if self.session is not None:
            self.session.gone(timed_out=timed_out)
        elif self.job is not None:
            self._server.data_plane.give_up(self.job, timed_out=timed_out)
        self.job = None

    @property
    def traces(self) -> GrpcTraces | None:
        """What traces the messages of a call that is traced itself; `None` when it is not."""
        return None if self.trace is None else self._server.traces

    @property
    def left_s(self) -> float:
        """Seconds until nobody waits any more; 0 for as long as the service allows."""
        return max(self.deadline_s - self._server.now_s(), 1e-9) if self.deadline_s else 0.0

    @property
    def busy(self) -> bool:
        """Whether the service owes the client something."""
        return self.answered or self.session is None or self.session.busy or self.inbox.partial

    def check_deadlines(self, now_s: float) -> None:
        """Act on what is overdue; called a few times a second."""
        if self.outbox.size and now_s >= self._progress_s + self._server.limits.body_timeout_s:
            self._connection.reset(self, ErrorCode.CANCEL)  # a client that does not read
        elif self.answered:
            return
        elif self.deadline_s and now_s >= self.deadline_s:
            self.time_out()
        elif not self.receipt_deadline_s or now_s < self.receipt_deadline_s or not self._awaits_the_rest:
            return
        elif self.head.refusal is not None:
            self._connection.reset(self, ErrorCode.CANCEL)
        else:
            self.fail(RequestFault(Kind.RECEIPT_TIMEOUT, "The message did not arrive in time."))

    @property
    def _awaits_the_rest(self) -> bool:
        return not self.half_closed and (self.session is None or self.inbox.partial)
