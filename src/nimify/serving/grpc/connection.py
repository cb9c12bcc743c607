"""One HTTP/2 connection that carries gRPC calls, from its greeting to its end.

It is a small protocol class, as the HTTP/1.1 one is: a call is read, handled and answered by plain calls in the
event-loop turn in which its last byte arrives; gRPC's own library costs several times that in Python before any work is
done (docs/adr/0006-own-http2-for-grpc.md). Only what gRPC needs of HTTP/2 is here: no push, no priorities. A `Receiver`
reads what arrives, a `Sender` writes what leaves, and this keeps the deadlines and says goodbye.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from nimify.serving.faults import RequestFault
from nimify.serving.grpc import frames
from nimify.serving.grpc.call import Call
from nimify.serving.grpc.frames import ConnectionFault, ErrorCode, Setting
from nimify.serving.grpc.head import MAX_HEADER_LIST
from nimify.serving.grpc.receiving import Receiver
from nimify.serving.grpc.sending import Sender
from nimify.serving.grpc.streams import MAX_STREAMS, Streams
from nimify.serving.grpc.windows import CONNECTION_WINDOW, STREAM_WINDOW

if TYPE_CHECKING:
    from nimify.serving.grpc.server import GrpcServer

FAREWELL_S: Final = 1.0
"""How long a client may take to hear that the connection is going to end."""
LINGER_S: Final = 1.0
"""How long a client that broke the rules may take to read why."""

_WRITE_BUFFER: Final = 262_144
_FAREWELL: Final = b"farewell"
_GREETING: Final = frames.settings_frame(
    {
        Setting.MAX_CONCURRENT_STREAMS: MAX_STREAMS,
        Setting.INITIAL_WINDOW_SIZE: STREAM_WINDOW,
        Setting.MAX_HEADER_LIST_SIZE: MAX_HEADER_LIST,
    }
) + frames.window_update_frame(0, CONNECTION_WINDOW - frames.DEFAULT_WINDOW)


class GrpcConnection(asyncio.Protocol):
    """Reads calls off one connection and writes the answers.

    Attributes:
        closing: Whether nothing is read any more.
        ending: Whether no further call is begun.
        sender: What leaves.
        worked: Called when honest work was done for the client.
    """

    def __init__(self, server: GrpcServer) -> None:
        self._server = server
        self._transport: Any = None
        self._active_s = 0.0
        self._write_deadline_s = 0.0
        self._farewell_s = 0.0
        self._streams = Streams()
        self.closing = False
        self.ending = False
        self.sender = Sender(self.sent)
        self._receiver = Receiver(server, self, self._streams, self.sender)
        self.worked = self._receiver.worked

    @property
    def calls(self) -> tuple[Call, ...]:
        """Those in progress; they may end meanwhile."""
        return tuple(self._streams.calls.values())

    # --- the transport's calls ----------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        transport.set_write_buffer_limits(high=_WRITE_BUFFER)  # type: ignore[attr-defined]  # it writes, too
        self.sender.connected(transport)
        self._active_s = self._server.now_s()
        self._receiver.begin(self._active_s)
        self._transport.write(_GREETING)
        if not self._server.admit(self):
            self._end(ErrorCode.ENHANCE_YOUR_CALM, "too many connections")

    def connection_lost(self, exc: Exception | None) -> None:
        self.closing = True
        self._abandon_calls()
        self._server.forget(self)

    def data_received(self, data: bytes) -> None:
        if self.closing:
            return
        self._active_s = self._server.now_s()
        try:
            self._receiver.feed(data, self._active_s)
        except ConnectionFault as fault:
            self._end(fault.code, fault.reason)

    def pause_writing(self) -> None:
        self.sender.blocked = True
        self._write_deadline_s = self._server.now_s() + self._server.limits.body_timeout_s
        # Who does not read is not read from: otherwise our answers would pile up here.
        if not self.closing:
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        self._write_deadline_s = 0.0
        if not self.closing:
            self._transport.resume_reading()
            self.sender.blocked = False
            self.sender.pump()
            self._close_if_done()

    # --- the calls' ends ----------------------------------------------------------------------------------------

    def sent(self, call: Call) -> None:
        """A call has sent its last byte."""
        if not call.half_closed:
            # The client need not send the rest.
            self._streams.was_reset(call.stream)
            self._transport.write(frames.reset_frame(call.stream, ErrorCode.NO_ERROR))
        self._forget(call)
        if self.ending:
            self._close_if_done()

    def reset(self, call: Call, code: ErrorCode) -> None:
        """End a call at once."""
        self._streams.was_reset(call.stream)
        self._forget(call)
        call.gone()
        self._transport.write(frames.reset_frame(call.stream, code))
        self._close_if_done()

    def cancelled(self, call: Call) -> None:
        """The client has ended a call."""
        self._forget(call)
        call.gone()
        self._close_if_done()

    def _abandon_calls(self) -> None:
        self.sender.blocked = True
        for call in self.calls:
            self._forget(call)
            call.gone()

    def _forget(self, call: Call) -> None:
        self._streams.calls.pop(call.stream, None)
        self.sender.forget(call)

    # --- the connection's end -----------------------------------------------------------------------------------

    def say_goodbye(self) -> None:
        """Ask the client to leave. What it sends before it has heard of it is still answered."""
        if self.ending or self._farewell_s or self.closing:
            return
        self._farewell_s = self._server.now_s() + FAREWELL_S
        self._transport.write(
            frames.goaway_frame(frames.MAX_STREAM_ID, ErrorCode.NO_ERROR) + frames.frame(frames.PING, 0, 0, _FAREWELL)
        )

    def pinged(self, payload: bytes) -> None:
        """The client has answered a ping: the farewell's, perhaps."""
        if payload == _FAREWELL and self._farewell_s:
            self._say_last_goodbye()

    def _say_last_goodbye(self) -> None:
        self._farewell_s = 0.0
        self._transport.write(frames.goaway_frame(self._streams.last, ErrorCode.NO_ERROR))
        self.leave()

    def leave(self) -> None:
        """Begin no further call, and close behind the last one."""
        self.ending = True
        self._close_if_done()

    def _close_if_done(self) -> None:
        if self.ending and not self._streams.calls and not self.closing:
            self.closing = True
            # Closing waits until the last answer is taken: not for ever.
            self._write_deadline_s = self._server.now_s() + self._server.limits.body_timeout_s
            self._transport.close()

    def _end(self, code: ErrorCode, reason: str) -> None:
        """Tell a peer that broke the rules what it did, and cut the connection."""
        if self.closing:
            return
        self.closing = True
        self._transport.write(frames.goaway_frame(self._streams.last, code, reason))
        self._abandon_calls()
        self._write_deadline_s = self._server.now_s() + LINGER_S
        if self._transport.can_write_eof():
            self._transport.write_eof()
        else:
            self._transport.close()

    def abort(self) -> None:
        """Cut the connection at once."""
        self.closing = True
        self._transport.abort()

    @property
    def unfinished(self) -> int:
        """Calls that are being received or answered."""
        return sum(call.busy for call in self.calls)

    def end_idle_streams(self, fault: RequestFault) -> None:
        """End the calls on which nothing is owed, once the client knows that the connection is going to end."""
        if self.ending:
            for call in self.calls:
                if not call.busy:
                    call.fail(fault)

    def check_deadlines(self, now_s: float) -> None:
        """Act on what is overdue; called a few times a second."""
        if self._write_deadline_s and now_s >= self._write_deadline_s:
            self.abort()
            return
        if self.closing:
            return
        if self._receiver.deadline_s and now_s >= self._receiver.deadline_s:
            self._end(ErrorCode.PROTOCOL_ERROR, "too slow")
            return
        if self._farewell_s and now_s >= self._farewell_s:
            self._say_last_goodbye()
        for call in self.calls:
            call.check_deadlines(now_s)
        if not self._streams.calls and now_s >= self._active_s + self._server.limits.keep_alive_s:
            self.say_goodbye()
