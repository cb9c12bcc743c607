"""What leaves a connection: as much as the peer's windows and the socket take, the rest in turn.

A small answer is one write. A large one is sent in pieces, and calls that have something to send take turns, so that
none of them holds up the others. Nothing is copied but what goes into the socket.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, Any, Final

from nimify.serving.grpc.codec import PREFIX_BYTES, Part, message_prefix
from nimify.serving.grpc.frames import (
    DATA,
    DEFAULT_WINDOW,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    LONGEST_FRAME,
    LONGEST_SENT_FRAME,
    MAX_WINDOW,
    ConnectionFault,
    ErrorCode,
    Setting,
    StreamFault,
    frame,
    frame_head,
)

if TYPE_CHECKING:
    from nimify.serving.grpc.call import Call

_FRAMES_A_TURN: Final = 4
_ONE_WRITE: Final = 65_536
"""Up to this, joining costs less than handing over the pieces."""


class Outbox:
    """What one call has still to send."""

    __slots__ = ("chunks", "ended", "size", "trailers", "window")

    def __init__(self, window: int) -> None:
        self.window = window
        self.chunks: deque[memoryview] = deque()
        self.size = 0
        self.ended = False
        """Whether nothing will be added."""
        self.trailers: bytes | None = None

    def widen(self, change: int) -> bool:
        """The peer takes so many bytes more, or fewer; false when that is more than there may be."""
        self.window += change
        return self.window <= MAX_WINDOW

    def put(self, part: Part) -> None:
        """Add bytes at the end."""
        self.chunks.append(memoryview(part))
        self.size += len(part)

    def take(self, most: int) -> list[memoryview]:
        """At most so many bytes from the beginning."""
        taken = []
        while self.chunks and most:
            chunk = self.chunks.popleft()
            if len(chunk) > most:
                self.chunks.appendleft(chunk[most:])
                chunk = chunk[:most]
            taken.append(chunk)
            most -= len(chunk)
            self.size -= len(chunk)
        return taken

    def clear(self) -> None:
        """Forget everything."""
        self.chunks.clear()
        self.size = 0
        self.trailers = None


class Sender:
    """Sends the answers of one connection.

    Args:
        sent: Told when a call has sent its last byte.

    Attributes:
        window: Bytes that the peer takes on the connection.
        stream_window: Bytes that it takes on a new stream.
        longest_frame: Longest payload that it takes.
        blocked: Whether the socket takes nothing at the moment.
    """

    __slots__ = ("_pumping", "_ready", "_sent", "_transport", "blocked", "longest_frame", "stream_window", "window")

    def __init__(self, sent: Callable[[Call], None]) -> None:
        self._sent = sent
        self._transport: Any = None
        self._pumping = False
        self._ready: dict[Call, None] = {}
        self.window = DEFAULT_WINDOW
        self.stream_window = DEFAULT_WINDOW
        self.longest_frame = LONGEST_FRAME
        self.blocked = False

    def connected(self, transport: Any) -> None:
        """Send through this transport."""
        self._transport = transport

    def write(self, frame: bytes) -> None:
        """Send what takes no window."""
        self._transport.write(frame)

    # --- what the peer takes ------------------------------------------------------------------------------------

    def set(self, name: int, value: int, calls: Collection[Call]) -> None:
        """Keep to a setting of the peer from now on; also with the calls that are in progress.

        Raises:
            ConnectionFault: It must not be set to that.
        """
        if name == Setting.INITIAL_WINDOW_SIZE:
            self._set_stream_window(value, calls)
        elif name == Setting.MAX_FRAME_SIZE:
            if not LONGEST_FRAME <= value <= 2**24 - 1:
                raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a frame size that is not allowed")
            self.longest_frame = min(value, LONGEST_SENT_FRAME)
        elif name == Setting.ENABLE_PUSH and value > 1:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "ENABLE_PUSH is neither 0 nor 1")

    def _set_stream_window(self, size: int, calls: Collection[Call]) -> None:
        if size > MAX_WINDOW:
            raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "a window that is too large")
        change = size - self.stream_window
        self.stream_window = size
        for call in calls:
            if not call.outbox.widen(change):
                raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "a window that is too large")
            if call.outbox.size:
                self._ready[call] = None

    def widen(self, increment: int) -> None:
        """The peer takes so many bytes more on the connection.

        Raises:
            ConnectionFault: There is nothing that it takes more, or too much.
        """
        self.window += increment
        if not increment or self.window > MAX_WINDOW:
            code = ErrorCode.FLOW_CONTROL_ERROR if increment else ErrorCode.PROTOCOL_ERROR
            raise ConnectionFault(code, "a window update that is too small or too large")
        self.pump()

    def widen_stream(self, call: Call, increment: int) -> None:
        """The peer takes so many bytes more of one call.

        Raises:
            StreamFault: There is nothing that it takes more, or too much.
        """
        if not call.outbox.widen(increment) or not increment:
            raise StreamFault(ErrorCode.FLOW_CONTROL_ERROR if increment else ErrorCode.PROTOCOL_ERROR)
        if call.outbox.size:
            self.ready(call)

    # --- sending ------------------------------------------------------------------------------------------------

    def whole(self, call: Call, headers: bytes, message: Sequence[Part], trailers: bytes) -> bool:
        """Send a whole answer at once; false, and nothing is sent, when it does not fit."""
        size = sum(map(len, message)) + PREFIX_BYTES
        outbox = call.outbox
        if size > self.window or size > outbox.window or size > self.longest_frame or self.blocked or outbox.size:
            return False
        self.window -= size
        outbox.window -= size
        stream = call.stream
        self._transport.write(
            b"".join(
                (
                    frame_head(len(headers), HEADERS, END_HEADERS, stream),
                    headers,
                    frame_head(size, DATA, 0, stream),
                    message_prefix(size - PREFIX_BYTES),
                    *message,
                    frame_head(len(trailers), HEADERS, END_HEADERS | END_STREAM, stream),
                    trailers,
                )
            )
        )
        return True

    def headers(self, call: Call, block: bytes, *, end: bool = False) -> None:
        """Send a header block at once: headers take no window."""
        self._transport.write(frame(HEADERS, END_HEADERS | END_STREAM if end else END_HEADERS, call.stream, block))

    def ready(self, call: Call) -> None:
        """A call has something to send, or may send more."""
        self._ready[call] = None
        self.pump()

    def forget(self, call: Call) -> None:
        """A call has nothing to send any more."""
        self._ready.pop(call, None)

    def pump(self) -> None:
        """Send what can be sent; what a call adds while this goes on is sent by this."""
        if self._pumping:
            return
        self._pumping = True
        try:
            self._take_turns()
        finally:
            self._pumping = False

    def _take_turns(self) -> None:
        while self._ready and not self.blocked:
            call = next(iter(self._ready))
            del self._ready[call]
            if call.outbox.size and self.window <= 0:
                self._ready[call] = None
                if not self._pump_without_window():
                    return
            elif self._send_some(call):
                self._ready[call] = None

    def _pump_without_window(self) -> bool:
        """Send the trailers of calls that have nothing else; whether there was one."""
        bare = [call for call in self._ready if not call.outbox.size]
        for call in bare:
            del self._ready[call]
            self._send_some(call)
        return bool(bare)

    def _send_some(self, call: Call) -> bool:
        """Send a few frames of a call; whether it could go on at once."""
        outbox = call.outbox
        pieces: list[bytes | memoryview] = []
        before = outbox.size
        for _ in range(_FRAMES_A_TURN):
            most = min(outbox.size, self.window, outbox.window, self.longest_frame)
            if most <= 0:
                break
            self.window -= most
            outbox.window -= most
            last = outbox.ended and outbox.trailers is None and most == outbox.size
            pieces.append(frame_head(most, DATA, END_STREAM if last else 0, call.stream))
            pieces += outbox.take(most)
        if pieces:
            self._write(pieces, before - outbox.size)
            call.progressed()
        if outbox.size:
            return outbox.window > 0
        if outbox.ended:
            if outbox.trailers is not None:
                self.headers(call, outbox.trailers, end=True)
            self._sent(call)
        return False

    def _write(self, pieces: list[bytes | memoryview], size: int) -> None:
        if size <= _ONE_WRITE:
            self._transport.write(b"".join(pieces))
        else:
            self._transport.writelines(pieces)
