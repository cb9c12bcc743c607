"""What arrives on a connection: bytes to frames, and each frame to the call or the setting that it is for.

Peers are not trusted: everything that they may send is bounded, and what costs us more than them is rationed
(`Allowances`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nimify.serving.grpc import frames
from nimify.serving.grpc.allowance import Allowances
from nimify.serving.grpc.call import Call
from nimify.serving.grpc.frames import ConnectionFault, ErrorCode, StreamFault
from nimify.serving.grpc.head import HeadReader
from nimify.serving.grpc.header_block import BlockReader, HeaderBlock
from nimify.serving.grpc.sending import Sender
from nimify.serving.grpc.streams import Streams
from nimify.serving.grpc.windows import CONNECTION_WINDOW, ReceiveWindow

if TYPE_CHECKING:
    from nimify.serving.grpc.connection import GrpcConnection
    from nimify.serving.grpc.server import GrpcServer


class Receiver:
    """Reads the frames of one connection.

    Attributes:
        deadline_s: Event-loop time at which what has begun must be whole: the greeting, or a block of headers; 0 when
            nothing has.
    """

    __slots__ = (
        "_allowances",
        "_blocks",
        "_connection",
        "_greeted",
        "_heads",
        "_now_s",
        "_rest",
        "_sender",
        "_server",
        "_settings_seen",
        "_streams",
        "_window",
        "deadline_s",
    )

    def __init__(self, server: GrpcServer, connection: GrpcConnection, streams: Streams, sender: Sender) -> None:
        self._server = server
        self._connection = connection
        self._streams = streams
        self._sender = sender
        self._rest = b""
        self._greeted = False
        self._settings_seen = False
        self._heads = HeadReader()
        self._blocks = BlockReader()
        self._allowances = Allowances()
        self._window = ReceiveWindow(CONNECTION_WINDOW)
        self._now_s = 0.0
        self.deadline_s = 0.0

    def begin(self, now_s: float) -> None:
        """Await the greeting."""
        self.deadline_s = now_s + self._server.limits.header_timeout_s

    def feed(self, data: bytes, now_s: float) -> None:
        """Act on what has arrived.

        Raises:
            ConnectionFault: It ends the connection.
        """
        self._now_s = now_s
        if self._rest:
            data = self._rest + data
            self._rest = b""
        position = 0 if self._greeted else self._read_preface(data)
        if self._greeted:
            self._read_frames(data, position)
        else:
            self._rest = data

    def worked(self) -> None:
        """Honest work was done: a few control frames more are welcome."""
        self._allowances.control.earn(4.0)
        self._allowances.pings.earn(1.0)

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
            if self._connection.closing:
                return
        self._rest = data[position:]

    def _reset_faulty(self, stream: int, code: ErrorCode) -> None:
        """End a stream on which the peer broke the rules; rationed, for it may do so to make us work."""
        call = self._streams.calls.get(stream)
        if call is not None:
            self._connection.reset(call, code)
        else:
            self._sender.write(frames.reset_frame(stream, code))
        self._use(self._allowances.resets.use, "too many streams are reset")

    def _use(self, use: Any, reason: str) -> None:
        if not use(self._now_s):
            self._server.calmed(reason)
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, reason)

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
        if not stream or stream > self._streams.last:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "DATA on a stream that was not opened")
        if not self._window.take(len(payload)):
            raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "more DATA than the window allows")
        content = frames.without_padding(payload, flags)
        end = bool(flags & frames.END_STREAM)
        if not content and not end:
            self._use(self._allowances.empty.use, "too many empty frames")
        if credit := self._window.widen():
            self._sender.write(frames.window_update_frame(0, credit))
        call = self._streams.receiving(stream)
        if call is None:
            return
        if not call.inbox.window.take(len(payload)):
            raise StreamFault(ErrorCode.FLOW_CONTROL_ERROR)
        self.worked()
        call.data(content, end=end)
        if not end:
            call.widen()

    # --- headers ------------------------------------------------------------------------------------------------

    def _headers(self, block: HeaderBlock | None) -> None:
        """A header block has ended, or not yet."""
        if block is None:
            if not self.deadline_s:
                self.deadline_s = self._server.now_s() + self._server.limits.header_timeout_s
            return
        self.deadline_s = 0.0
        if block.stream <= self._streams.last:
            self._trailers(block)
        else:
            self._open(block)
        if block.depends_on_itself:
            raise StreamFault(ErrorCode.PROTOCOL_ERROR)

    def _open(self, block: HeaderBlock) -> None:
        """Begin a new call."""
        stream, streams = block.stream, self._streams
        streams.last = stream
        self.worked()
        try:
            head = self._heads.read(block.content)
        except StreamFault:
            streams.was_reset(stream)
            raise
        if self._connection.ending or streams.full:
            streams.was_reset(stream)
            raise StreamFault(ErrorCode.REFUSED_STREAM)
        call = Call(self._server, self._connection, stream, head)
        streams.calls[stream] = call
        call.begin()
        if block.ends_stream:
            call.data(b"", end=True)

    def _trailers(self, block: HeaderBlock) -> None:
        # Whatever becomes of it, it must be decoded: the tables would get out of step.
        fields = self._heads.decoded(block.content)
        call = self._streams.trailed(block.stream)
        if call is None:
            return
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
            self._rst_stream(stream)
        elif kind == frames.SETTINGS:
            self._settings(flags, payload)
        elif kind == frames.GOAWAY:
            self._connection.leave()
        elif kind == frames.PRIORITY:
            self._priority(stream, payload)
        else:
            self._use(self._allowances.control.use, "too many unknown frames")

    def _window_update(self, stream: int, payload: bytes) -> None:
        self._use(self._allowances.control.use, "too many window updates")
        increment = frames.read_word(payload)
        if not stream:
            self._sender.widen(increment)
            return
        call = self._streams.opened(stream)
        if call is not None:
            self._sender.widen_stream(call, increment)

    def _ping(self, flags: int, payload: bytes) -> None:
        self._use(self._allowances.pings.use, "too many pings")
        if flags & frames.ACK:
            self._connection.pinged(payload)
        else:
            self._sender.write(frames.frame(frames.PING, frames.ACK, 0, payload))

    def _rst_stream(self, stream: int) -> None:
        call = self._streams.opened(stream)
        self._use(self._allowances.resets.use, "too many streams are reset")
        if call is not None:
            self._connection.cancelled(call)

    def _settings(self, flags: int, payload: bytes) -> None:
        if flags & frames.ACK:
            if payload:
                raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "SETTINGS of a wrong length")
            return
        self._use(self._allowances.settings.use, "too many settings")
        for name, value in frames.read_settings(payload):
            self._sender.set(name, value, self._streams.calls.values())
        if not self._settings_seen:
            self._settings_seen = True
            self.deadline_s = 0.0
        self._sender.write(frames.frame(frames.SETTINGS, frames.ACK, 0))
        self._sender.pump()

    def _priority(self, stream: int, payload: bytes) -> None:
        self._use(self._allowances.control.use, "too many priorities")
        if len(payload) != frames.PRIORITY_BYTES:
            raise StreamFault(ErrorCode.FRAME_SIZE_ERROR)
        if frames.read_word(payload) == stream:
            raise StreamFault(ErrorCode.PROTOCOL_ERROR)
