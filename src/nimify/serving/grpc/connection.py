"""One HTTP/2 connection that carries gRPC calls: a small protocol class, as the HTTP/1.1 one is.

A call is read, handled and answered by plain calls in the event-loop turn in which its last byte arrives; gRPC's own
library costs several times that in Python before any work is done (docs/adr/0006-own-http2-for-grpc.md). Only what
gRPC needs of HTTP/2 is here: no push, no priorities. Peers are not trusted: everything that they may send is bounded,
and what costs us more than them is rationed (`Allowances`).
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any, Final

from nimify.serving.grpc import frames
from nimify.serving.grpc.allowance import Allowances
from nimify.serving.grpc.call import STREAM_WINDOW, Call
from nimify.serving.grpc.frames import ConnectionFault, ErrorCode, Setting, StreamFault
from nimify.serving.grpc.head import MAX_HEADER_LIST, HeadReader
from nimify.serving.grpc.header_block import BlockReader, HeaderBlock
from nimify.serving.grpc.sending import Sender

if TYPE_CHECKING:
    from nimify.serving.grpc.server import GrpcServer

MAX_STREAMS: Final = 256
"""Calls at once on one connection."""
CONNECTION_WINDOW: Final = 16 << 20
"""Bytes that a client may send on all streams before it is told that it may send more."""
FAREWELL_S: Final = 1.0
"""How long a client may take to hear that the connection is going to end."""
LINGER_S: Final = 1.0
"""How long a client that broke the rules may take to read why."""

_CREDIT: Final = CONNECTION_WINDOW // 4
_REMEMBERED_RESETS: Final = 1024
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
    """Reads calls off one connection and writes the answers."""

    def __init__(self, server: GrpcServer) -> None:
        self._server = server
        self._transport: Any = None
        self._rest = b""
        self._greeted = False
        self._settings_seen = False
        self._closing = False
        self._heads = HeadReader()
        self._allowances = Allowances()
        self._blocks = BlockReader()
        self._last_stream = 0
        self._receive_window = CONNECTION_WINDOW
        self._uncredited = 0
        self._recently_reset: deque[int] = deque(maxlen=_REMEMBERED_RESETS)
        self._active_s = 0.0
        self._deadline_s = 0.0
        self._write_deadline_s = 0.0
        self._farewell_s = 0.0
        self._ending = False
        self.calls: dict[int, Call] = {}
        self.sender = Sender(self.sent)

    # --- the transport's calls ----------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        transport.set_write_buffer_limits(high=_WRITE_BUFFER)  # type: ignore[attr-defined]  # it writes, too
        self.sender.connected(transport)
        self._active_s = self._server.now_s()
        self._deadline_s = self._active_s + self._server.limits.header_timeout_s
        self._transport.write(_GREETING)
        if not self._server.admit(self):
            self._end(ErrorCode.ENHANCE_YOUR_CALM, "too many connections")

    def connection_lost(self, exc: Exception | None) -> None:
        self._closing = True
        self.sender.blocked = True
        for call in tuple(self.calls.values()):
            self._forget(call)
            call.gone()
        self._server.forget(self)

    def data_received(self, data: bytes) -> None:
        if self._closing:
            return
        if self._rest:
            data = self._rest + data
            self._rest = b""
        self._active_s = self._server.now_s()
        try:
            position = 0 if self._greeted else self._read_preface(data)
            if self._greeted:
                self._read_frames(data, position)
            else:
                self._rest = data
        except ConnectionFault as fault:
            self._end(fault.code, fault.reason)

    def pause_writing(self) -> None:
        self.sender.blocked = True
        self._write_deadline_s = self._server.now_s() + self._server.limits.body_timeout_s
        # Who does not read is not read from: otherwise our answers would pile up here.
        if not self._closing:
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        self._write_deadline_s = 0.0
        if not self._closing:
            self._transport.resume_reading()
            self.sender.blocked = False
            self.sender.pump()
            self._close_if_done()

    # --- frames -------------------------------------------------------------------------------------------------

    def _read_preface(self, data: bytes) -> int:
        beginning = data[: len(frames.PREFACE)]
        if not frames.PREFACE.startswith(beginning):
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "not HTTP/2")
        if len(beginning) < len(frames.PREFACE):
            return 0
        self._greeted = True
        return len(beginning)

    def _read_frames(self, data: bytes, position: int) -> None:
        end = len(data)
        while end - position >= frames.HEAD_BYTES:
            length, kind, flags, stream = frames.read_head(data, position)
            if length > frames.LONGEST_FRAME:
                raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "a frame is too long")
            content = position + frames.HEAD_BYTES
            if end - content < length:
                break
            position = content + length
            try:
                self._frame(kind, flags, stream, data[content:position])
            except StreamFault as fault:
                self._reset_faulty(stream, fault.code)
            if self._closing:
                return
        self._rest = data[position:]

    def _frame(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        pending = self._blocks.stream
        if pending and (kind != frames.CONTINUATION or stream != pending):
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "headers are interrupted")
        if not self._settings_seen and kind != frames.SETTINGS:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "SETTINGS must come first")
        if kind == frames.DATA:
            self._data(flags, stream, payload)
        elif kind == frames.HEADERS:
            self._headers(self._blocks.begin(flags, stream, payload))
        elif kind == frames.CONTINUATION:
            self._headers(self._blocks.go_on(flags, payload))
        else:
            self._control(kind, flags, stream, payload)

    def _data(self, flags: int, stream: int, payload: bytes) -> None:
        if not stream or stream > self._last_stream:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "DATA on a stream that was not opened")
        self._receive_window -= len(payload)
        if self._receive_window < 0:
            raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "more DATA than the window allows")
        content = frames.without_padding(payload, flags)
        end = bool(flags & frames.END_STREAM)
        if not content and not end:
            self._use(self._allowances.empty.use, "too many empty frames")
        self._credit_connection(len(payload))
        call = self.calls.get(stream)
        if call is None or call.half_closed:
            if call is None and stream in self._recently_reset:
                return  # sent before the client heard of it
            raise StreamFault(ErrorCode.STREAM_CLOSED)
        call.receive_window -= len(payload)
        if call.receive_window < 0:
            raise StreamFault(ErrorCode.FLOW_CONTROL_ERROR)
        self.allow_control()
        call.data(content, end=end)
        self.credit(call, len(payload))

    def _credit_connection(self, size: int) -> None:
        self._uncredited += size
        if self._uncredited >= _CREDIT:
            self._receive_window += self._uncredited
            self._transport.write(frames.window_update_frame(0, self._uncredited))
            self._uncredited = 0

    def credit(self, call: Call, size: int) -> None:
        """Count bytes that arrived for a call, and let the client send more if the call wants it."""
        credit = call.credit(size)
        if credit:
            self._transport.write(frames.window_update_frame(call.stream, credit))

    def _headers(self, block: HeaderBlock | None) -> None:
        """A header block has ended, or not yet."""
        if block is None:
            if not self._deadline_s:
                self._deadline_s = self._server.now_s() + self._server.limits.header_timeout_s
            return
        self._deadline_s = 0.0
        self._open(block)
        if block.depends_on_itself:
            raise StreamFault(ErrorCode.PROTOCOL_ERROR)

    def _open(self, block: HeaderBlock) -> None:
        """Begin a new call, or take the trailers of one."""
        stream = block.stream
        call = self.calls.get(stream)
        if call is not None or stream <= self._last_stream:
            # Whatever becomes of it, it must be decoded: the tables would get out of step.
            self._trailers(block, call, self._heads.decoded(block.content))
            return
        self._last_stream = stream
        self.allow_control()
        try:
            head = self._heads.read(block.content)
        except StreamFault:
            self._recently_reset.append(stream)
            raise
        if self._ending or len(self.calls) >= MAX_STREAMS:
            self._recently_reset.append(stream)
            raise StreamFault(ErrorCode.REFUSED_STREAM)
        call = Call(self._server, self, stream, head)
        self.calls[stream] = call
        call.begin()
        if block.ends_stream:
            call.data(b"", end=True)

    def _trailers(self, block: HeaderBlock, call: Call | None, fields: list[tuple[bytes, bytes]]) -> None:
        if call is None:
            if block.stream in self._recently_reset:
                return
            raise ConnectionFault(ErrorCode.STREAM_CLOSED, "HEADERS on a stream that has ended")
        if call.half_closed:
            raise StreamFault(ErrorCode.STREAM_CLOSED)
        if not block.ends_stream or any(name[:1] == b":" for name, _ in fields):
            raise StreamFault(ErrorCode.PROTOCOL_ERROR)
        call.data(b"", end=True)

    # --- control frames -----------------------------------------------------------------------------------------

    def _control(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        frames.check_control(kind, stream, payload)
        if kind == frames.WINDOW_UPDATE:
            self._window_update(stream, payload)
        elif kind == frames.PING:
            self._ping(flags, payload)
        elif kind == frames.RST_STREAM:
            self._rst_stream(stream, payload)
        elif kind == frames.SETTINGS:
            self._settings(flags, payload)
        elif kind == frames.GOAWAY:
            self._ending = True
            self._close_if_done()
        elif kind == frames.PRIORITY:
            self._priority(stream, payload)
        else:
            self._use(self._allowances.control.use, "too many unknown frames")

    def _window_update(self, stream: int, payload: bytes) -> None:
        self._use(self._allowances.control.use, "too many window updates")
        increment = frames.read_word(payload)
        if not stream:
            self.sender.window += increment
            if not increment or self.sender.window > frames.MAX_WINDOW:
                code = ErrorCode.FLOW_CONTROL_ERROR if increment else ErrorCode.PROTOCOL_ERROR
                raise ConnectionFault(code, "a window update that is too small or too large")
            self.sender.pump()
            return
        call = self._opened(stream)
        if call is None:
            return
        call.outbox.window += increment
        if not increment or call.outbox.window > frames.MAX_WINDOW:
            raise StreamFault(ErrorCode.FLOW_CONTROL_ERROR if increment else ErrorCode.PROTOCOL_ERROR)
        if call.outbox.size:
            self.sender.ready(call)

    def _opened(self, stream: int) -> Call | None:
        """The call of a stream; `None` when it has ended."""
        if stream > self._last_stream or not stream % 2:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a frame for a stream that was not opened")
        return self.calls.get(stream)

    def _ping(self, flags: int, payload: bytes) -> None:
        self._use(self._allowances.pings.use, "too many pings")
        if not flags & frames.ACK:
            self._transport.write(frames.frame(frames.PING, frames.ACK, 0, payload))
        elif payload == _FAREWELL and self._farewell_s:
            self._say_last_goodbye()

    def _rst_stream(self, stream: int, payload: bytes) -> None:
        call = self._opened(stream)
        self._use(self._allowances.resets.use, "too many streams are reset")
        if call is not None:
            self._forget(call)
            call.gone()
            self._close_if_done()

    def _settings(self, flags: int, payload: bytes) -> None:
        if flags & frames.ACK:
            if payload:
                raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "SETTINGS of a wrong length")
            return
        self._use(self._allowances.settings.use, "too many settings")
        for name, value in frames.read_settings(payload):
            self._set(name, value)
        if not self._settings_seen:
            self._settings_seen = True
            self._deadline_s = 0.0
        self._transport.write(frames.frame(frames.SETTINGS, frames.ACK, 0))
        self.sender.pump()

    def _set(self, name: int, value: int) -> None:
        if name == Setting.INITIAL_WINDOW_SIZE:
            if value > frames.MAX_WINDOW:
                raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "a window that is too large")
            change = value - self.sender.stream_window
            self.sender.stream_window = value
            for call in tuple(self.calls.values()):
                call.outbox.window += change
                if call.outbox.window > frames.MAX_WINDOW:
                    raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "a window that is too large")
                if call.outbox.size:
                    self.sender.wake(call)
        elif name == Setting.MAX_FRAME_SIZE:
            if not frames.LONGEST_FRAME <= value <= 2**24 - 1:
                raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a frame size that is not allowed")
            self.sender.longest_frame = min(value, frames.LONGEST_SENT_FRAME)
        elif name == Setting.ENABLE_PUSH and value > 1:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "ENABLE_PUSH is neither 0 nor 1")

    def _priority(self, stream: int, payload: bytes) -> None:
        self._use(self._allowances.control.use, "too many priorities")
        if len(payload) != frames.PRIORITY_BYTES:
            raise StreamFault(ErrorCode.FRAME_SIZE_ERROR)
        if frames.read_word(payload) == stream:
            raise StreamFault(ErrorCode.PROTOCOL_ERROR)

    def _use(self, use: Any, reason: str) -> None:
        if not use(self._active_s):
            self._server.calmed(reason)
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, reason)

    def allow_control(self) -> None:
        """Honest work was done: a few control frames more are welcome."""
        self._allowances.control.earn(4.0)
        self._allowances.pings.earn(1.0)

    # --- the calls' ends ----------------------------------------------------------------------------------------

    def sent(self, call: Call) -> None:
        """A call has sent its last byte."""
        if not call.half_closed:
            # The client need not send the rest.
            self._recently_reset.append(call.stream)
            self._transport.write(frames.reset_frame(call.stream, ErrorCode.NO_ERROR))
        self._forget(call)
        if self._ending:
            self._close_if_done()

    def reset(self, call: Call, code: ErrorCode) -> None:
        """End a call at once."""
        self._recently_reset.append(call.stream)
        self._forget(call)
        call.gone()
        self._transport.write(frames.reset_frame(call.stream, code))
        self._close_if_done()

    def _reset_faulty(self, stream: int, code: ErrorCode) -> None:
        """End a stream on which the peer broke the rules; rationed, for it may do so to make us work."""
        call = self.calls.get(stream)
        if call is not None:
            self.reset(call, code)
        else:
            self._transport.write(frames.reset_frame(stream, code))
        self._use(self._allowances.resets.use, "too many streams are reset")

    def _forget(self, call: Call) -> None:
        self.calls.pop(call.stream, None)
        self.sender.forget(call)

    # --- the connection's end -----------------------------------------------------------------------------------

    def say_goodbye(self) -> None:
        """Ask the client to leave. What it sends before it has heard of it is still answered."""
        if self._ending or self._farewell_s or self._closing:
            return
        self._farewell_s = self._server.now_s() + FAREWELL_S
        self._transport.write(
            frames.goaway_frame(frames.MAX_STREAM_ID, ErrorCode.NO_ERROR) + frames.frame(frames.PING, 0, 0, _FAREWELL)
        )

    def _say_last_goodbye(self) -> None:
        self._farewell_s = 0.0
        self._ending = True
        self._transport.write(frames.goaway_frame(self._last_stream, ErrorCode.NO_ERROR))
        self._close_if_done()

    def _close_if_done(self) -> None:
        if self._ending and not self.calls and not self._closing:
            self._closing = True
            # Closing waits until the last answer is taken: not for ever.
            self._write_deadline_s = self._server.now_s() + self._server.limits.body_timeout_s
            self._transport.close()

    def _end(self, code: ErrorCode, reason: str) -> None:
        """Tell a peer that broke the rules what it did, and cut the connection."""
        if self._closing:
            return
        self._closing = True
        self._transport.write(frames.goaway_frame(self._last_stream, code, reason))
        self.sender.blocked = True
        for call in tuple(self.calls.values()):
            self._forget(call)
            call.gone()
        self._write_deadline_s = self._server.now_s() + LINGER_S
        if self._transport.can_write_eof():
            self._transport.write_eof()
        else:
            self._transport.close()

    def abort(self) -> None:
        """Cut the connection at once."""
        self._closing = True
        self._transport.abort()

    @property
    def unfinished(self) -> int:
        """Calls that are being received or answered."""
        return sum(call.busy for call in self.calls.values())

    def end_idle_streams(self, fault: Any) -> None:
        """End the calls on which nothing is owed, once the client knows that the connection is going to end."""
        if self._ending:
            for call in tuple(self.calls.values()):
                if not call.busy:
                    call.fail(fault)

    def check_deadlines(self, now_s: float) -> None:
        """Act on what is overdue; called a few times a second."""
        if self._write_deadline_s and now_s >= self._write_deadline_s:
            self.abort()
            return
        if self._closing:
            return
        if self._deadline_s and now_s >= self._deadline_s:
            self._end(ErrorCode.PROTOCOL_ERROR, "too slow")
            return
        if self._farewell_s and now_s >= self._farewell_s:
            self._say_last_goodbye()
        for call in tuple(self.calls.values()):
            call.check_deadlines(now_s)
        if not self.calls and now_s >= self._active_s + self._server.limits.keep_alive_s:
            self.say_goodbye()
