"""A connection that makes gRPC calls, one at a time, over HTTP/2 (RFC 9113).

What a load generator needs of HTTP/2 and no more: one stream at a time, calls with one message and one answer. We ask
the service for no table of headers, so that blocks with the same bytes mean the same and are read only once.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Mapping
from typing import Final
from urllib.parse import unquote

import hpack

from nimify.loadtest.connection import MAX_ANSWER_BYTES, Answered, Connection, Lost
from nimify.serving.grpc import frames
from nimify.serving.grpc.codec import PREFIX_BYTES, message_prefix
from nimify.serving.grpc.frames import ConnectionFault, ErrorCode, Setting
from nimify.serving.grpc.status import header_field

CODES: Final = (
    "OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
    "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED",
    "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
)  # fmt: skip
"""gRPC's status codes, each at its number; a service that is not ours may answer with any of them."""
NO_HTTP2: Final = "no HTTP/2 answer"

_HELLO: Final = (
    frames.PREFACE
    + frames.settings_frame(
        {Setting.HEADER_TABLE_SIZE: 0, Setting.ENABLE_PUSH: 0, Setting.INITIAL_WINDOW_SIZE: frames.MAX_WINDOW}
    )
    + frames.window_update_frame(0, frames.MAX_WINDOW - frames.DEFAULT_WINDOW)
)
_REFILL: Final = 1 << 30
"""Bytes of answers after which the service is given as many more to send."""
_LONGEST_BLOCK: Final = 1 << 18
_MOST_REMEMBERED: Final = 256
_LENGTH: Final = struct.Struct(">I")


def call_headers(path: str, authority: str, metadata: Mapping[str, str], *, secure: bool) -> bytes:
    """The header block that begins a call.

    Args:
        path: `/package.Service/Method`.
        authority: Host and port.
        metadata: Sent with it; names in any case.
        secure: Whether TLS is spoken.
    """
    fields = {
        ":method": "POST",
        ":scheme": "https" if secure else "http",
        ":path": path,
        ":authority": authority,
        "te": "trailers",
        "content-type": "application/grpc",
        "user-agent": "nimify",
        **{name.lower(): value for name, value in metadata.items()},
    }
    return b"".join(header_field(name.encode(), value.encode()) for name, value in fields.items())


class GrpcConnection(Connection):
    """Requests are serialized messages; an answer is right when its status is OK and it holds one whole message.

    Args:
        headers: The header block of every call; see `call_headers`.
        answered: Called when a call has ended.
        lost: Called when the connection is gone.

    Attributes:
        content: What the last answer held, with the prefix of gRPC.
        said: The message that came with its status.
    """

    __slots__ = (
        "_block",
        "_block_ends_stream",
        "_block_stream",
        "_decoder",
        "_frame_limit",
        "_greeted",
        "_headers",
        "_initial_window",
        "_known_blocks",
        "_received",
        "_status",
        "_stream",
        "_stream_window",
        "_unread",
        "_unsent",
        "_window",
        "content",
        "said",
    )

    def __init__(self, headers: bytes, answered: Answered, lost: Lost) -> None:
        super().__init__(answered, lost)
        self._headers = headers
        self._decoder = hpack.Decoder(_LONGEST_BLOCK)
        self._known_blocks: dict[bytes, dict[bytes, bytes]] = {}
        self._greeted = False
        self._received = b""
        self._block = bytearray()
        self._block_stream = 0
        self._block_ends_stream = False
        self._initial_window = self._window = frames.DEFAULT_WINDOW
        self._frame_limit = frames.LONGEST_FRAME
        self._stream = -1
        self._stream_window = 0
        self._unsent = memoryview(b"")
        self._unread = 0
        self._status: dict[bytes, bytes] = {}
        self.content = bytearray()
        self.said = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection stands; greet, and do not wait for the answer."""
        super().connection_made(transport)
        if self._transport is not None:
            self._transport.write(_HELLO)

    def write(self, transport: asyncio.Transport, wire: bytes) -> None:
        """Begin a call, and send as much of its message as the service takes by now."""
        self._stream += 2
        self._stream_window = self._initial_window
        self._status = {}
        self.content = bytearray()
        head = frames.frame(frames.HEADERS, frames.END_HEADERS, self._stream, self._headers)
        body = message_prefix(len(wire)) + wire
        if len(body) <= min(self._window, self._stream_window, self._frame_limit):  # nearly always, in one piece
            self._window -= len(body)
            transport.write(head + frames.frame(frames.DATA, frames.END_STREAM, self._stream, body))
            return
        transport.write(head)
        self._unsent = memoryview(body)
        self._send_more()

    def data_received(self, data: bytes) -> None:
        """Bytes of the service came."""
        data = self._received + data if self._received else data
        position, end = 0, len(data)
        try:
            while end - position >= frames.HEAD_BYTES:
                length, kind, flags, stream = frames.read_head(data, position)
                self._check_head(length, kind)
                start = position + frames.HEAD_BYTES
                if start + length > end:
                    break
                self._take(kind, flags, stream, data[start : start + length])
                if not self.open:
                    return
                position = start + length
        except (ConnectionFault, hpack.HPACKError, ValueError):
            self.abort("HTTP/2 that breaks its rules" if self._greeted else NO_HTTP2)
            return
        self._received = data[position:]

    def _check_head(self, length: int, kind: int) -> None:
        if not self._greeted and kind != frames.SETTINGS:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "no SETTINGS")
        if length > frames.LONGEST_FRAME:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "a frame too long")

    def _take(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if self._block_stream and kind != frames.CONTINUATION:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a header block that does not go on")
        if kind == frames.DATA:
            self._data(flags, stream, payload)
        elif kind == frames.HEADERS:
            self._begin_block(flags, stream, payload)
        elif kind == frames.CONTINUATION:
            self._go_on(flags, stream, payload)
        else:
            frames.check_control(kind, stream, payload)
            self._control(kind, flags, stream, payload)

    def _data(self, flags: int, stream: int, payload: bytes) -> None:
        self._unread += len(payload)
        if self._unread >= _REFILL and self._transport is not None:
            self._transport.write(frames.window_update_frame(0, self._unread))
            self._unread = 0
        if stream != self._stream:
            return  # of a call that has ended
        self.content += frames.without_padding(payload, flags)
        if len(self.content) > MAX_ANSWER_BYTES:
            self.abort("answer too long")
        elif flags & frames.END_STREAM:
            self._ended()

    def _begin_block(self, flags: int, stream: int, payload: bytes) -> None:
        content = frames.without_padding(payload, flags)
        if flags & frames.WITH_PRIORITY:
            content = content[frames.PRIORITY_BYTES :]
        self._block_stream = stream
        self._block_ends_stream = bool(flags & frames.END_STREAM)
        self._block = bytearray()
        self._add_to_block(flags, content)

    def _go_on(self, flags: int, stream: int, payload: bytes) -> None:
        if not stream or stream != self._block_stream:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "CONTINUATION of nothing")
        self._add_to_block(flags, payload)

    def _add_to_block(self, flags: int, content: bytes) -> None:
        self._block += content
        if len(self._block) > _LONGEST_BLOCK:
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, "headers are too long")
        if not flags & frames.END_HEADERS:
            return
        stream, self._block_stream = self._block_stream, 0
        fields = self._fields(bytes(self._block))
        if stream != self._stream:
            return
        self._status |= fields
        if self._block_ends_stream:
            self._ended()

    def _fields(self, block: bytes) -> dict[bytes, bytes]:
        """What a block says; one that was seen before is not decoded again, as no table changes its meaning."""
        known = self._known_blocks.get(block)
        if known is not None:
            return known
        fields = {name: value for name, value in self._decoder.decode(block, raw=True) if name in _READ}
        if not self._decoder.header_table.dynamic_entries and len(self._known_blocks) < _MOST_REMEMBERED:
            self._known_blocks[block] = fields
        return fields

    def _control(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == frames.SETTINGS:
            self._greeted = True
            if not flags & frames.ACK:
                self._settings(payload)
        elif kind == frames.PING and not flags & frames.ACK and self._transport is not None:
            self._transport.write(frames.frame(frames.PING, frames.ACK, 0, payload))
        elif kind == frames.WINDOW_UPDATE:
            self._more_window(stream, frames.read_word(payload))
        elif kind == frames.RST_STREAM and stream == self._stream:
            self._reset(frames.read_word(payload))
        elif kind == frames.GOAWAY:
            self._going_away(last_stream=frames.read_word(payload))

    def _settings(self, payload: bytes) -> None:
        for name, value in frames.read_settings(payload):
            if name == Setting.INITIAL_WINDOW_SIZE:
                self._stream_window += value - self._initial_window
                self._initial_window = value
            elif name == Setting.MAX_FRAME_SIZE:
                self._frame_limit = min(max(value, frames.LONGEST_FRAME), frames.LONGEST_SENT_FRAME)
        if self._transport is not None:
            self._transport.write(frames.frame(frames.SETTINGS, frames.ACK, 0))
        self._send_more()

    def _more_window(self, stream: int, increment: int) -> None:
        if not stream:
            self._window += increment
        elif stream == self._stream:
            self._stream_window += increment
        self._send_more()

    def _send_more(self) -> None:
        while self._unsent and self._transport is not None:
            size = min(len(self._unsent), self._window, self._stream_window, self._frame_limit)
            if size <= 0:
                return
            piece, self._unsent = self._unsent[:size], self._unsent[size:]
            self._window -= size
            self._stream_window -= size
            flags = 0 if self._unsent else frames.END_STREAM
            self._transport.write(frames.frame(frames.DATA, flags, self._stream, bytes(piece)))

    def _reset(self, code: int) -> None:
        if self.due_ns:
            name = ErrorCode(code).name if code in ErrorCode.__members__.values() else str(code)
            self._end(f"stream reset ({name})")

    def _going_away(self, last_stream: int) -> None:
        self.keep_alive = False
        if not self.due_ns or last_stream < self._stream:
            self.abort("connection closed by the service")

    def _ended(self) -> None:
        """The service has said its last word on the call."""
        status = self._status
        self.said = unquote(status.get(b"grpc-message", b"").decode("utf-8", "replace"))
        code, http = status.get(b"grpc-status"), status.get(b":status", b"200")
        if http != b"200":
            self._end(f"HTTP {http.decode('ascii', 'replace')}")
        elif code is None:
            self._end("no gRPC status")
        elif code != b"0":
            known = code.isdigit() and len(code) < 3 and int(code) < len(CODES)
            self._end(CODES[int(code)] if known else "a gRPC status of no meaning")
        else:
            self._end("" if self._is_whole() else "no whole answer")

    def _is_whole(self) -> bool:
        """Whether there is one message, not compressed, as we ask for no compression."""
        content = self.content
        return (
            len(content) >= PREFIX_BYTES
            and not content[0]
            and _LENGTH.unpack_from(content, 1)[0] == len(content) - PREFIX_BYTES
        )

    def _end(self, failure: str) -> None:
        if self._unsent:  # answered before all of it was sent: what is left belongs to no stream
            self._unsent = memoryview(b"")
            if self._transport is not None:
                self._transport.write(frames.reset_frame(self._stream, ErrorCode.CANCEL))
        if self._stream >= frames.MAX_STREAM_ID - 1:
            self.keep_alive = False
        if self.due_ns:
            self._answered(self, failure)


_READ: Final = frozenset({b":status", b"grpc-status", b"grpc-message"})
