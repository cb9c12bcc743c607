"""HTTP/2 frames as bytes, and the two ways in which a peer can break the rules (RFC 9113, sections 4 to 7)."""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import Final

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
"""What a client sends first."""
HEAD_BYTES: Final = 9
LONGEST_FRAME: Final = 16_384
"""Longest payload that everybody accepts, and that we do."""
LONGEST_SENT_FRAME: Final = 65_536
"""Longest payload that we send to a peer that accepts longer ones."""
DEFAULT_WINDOW: Final = 65_535
MAX_WINDOW: Final = 2**31 - 1
MAX_STREAM_ID: Final = 2**31 - 1

DATA: Final = 0
HEADERS: Final = 1
PRIORITY: Final = 2
RST_STREAM: Final = 3
SETTINGS: Final = 4
PUSH_PROMISE: Final = 5
PING: Final = 6
GOAWAY: Final = 7
WINDOW_UPDATE: Final = 8
CONTINUATION: Final = 9

END_STREAM: Final = 0x1
ACK: Final = 0x1
END_HEADERS: Final = 0x4
PADDED: Final = 0x8
WITH_PRIORITY: Final = 0x20

PRIORITY_BYTES: Final = 5
_LENGTHS: Final = {RST_STREAM: 4, PING: 8, WINDOW_UPDATE: 4}
_OF_CONNECTIONS: Final = frozenset({SETTINGS, PING, GOAWAY})
_OF_STREAMS: Final = frozenset({PRIORITY, RST_STREAM})

_HEAD: Final = struct.Struct(">IBI")
_SETTING: Final = struct.Struct(">HI")
_WORD: Final = struct.Struct(">I")


class Setting(IntEnum):
    """Names of settings."""

    HEADER_TABLE_SIZE = 1
    ENABLE_PUSH = 2
    MAX_CONCURRENT_STREAMS = 3
    INITIAL_WINDOW_SIZE = 4
    MAX_FRAME_SIZE = 5
    MAX_HEADER_LIST_SIZE = 6


class ErrorCode(IntEnum):
    """Why a stream or connection is ended."""

    NO_ERROR = 0
    PROTOCOL_ERROR = 1
    INTERNAL_ERROR = 2
    FLOW_CONTROL_ERROR = 3
    SETTINGS_TIMEOUT = 4
    STREAM_CLOSED = 5
    FRAME_SIZE_ERROR = 6
    REFUSED_STREAM = 7
    CANCEL = 8
    COMPRESSION_ERROR = 9
    CONNECT_ERROR = 10
    ENHANCE_YOUR_CALM = 11


class ConnectionFault(Exception):
    """A peer that broke the rules in a way that ends its connection."""

    def __init__(self, code: ErrorCode, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class StreamFault(Exception):
    """A peer that broke the rules in a way that ends one stream."""

    def __init__(self, code: ErrorCode) -> None:
        super().__init__(code.name)
        self.code = code


def frame_head(length: int, kind: int, flags: int, stream: int) -> bytes:
    """The nine bytes before a payload."""
    return _HEAD.pack(length << 8 | kind, flags, stream)


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """A whole frame."""
    return _HEAD.pack(len(payload) << 8 | kind, flags, stream) + payload


def read_head(data: bytes, position: int) -> tuple[int, int, int, int]:
    """Length, type, flags and stream of the frame that begins there."""
    length_and_kind, flags, stream = _HEAD.unpack_from(data, position)
    return length_and_kind >> 8, length_and_kind & 0xFF, flags, stream & MAX_STREAM_ID


def settings_frame(settings: dict[Setting, int]) -> bytes:
    """Our settings."""
    return frame(SETTINGS, 0, 0, b"".join(_SETTING.pack(name, value) for name, value in settings.items()))


def check_control(kind: int, stream: int, payload: bytes) -> None:
    """Refuse a control frame of a wrong length, or one that has no place where it is.

    Raises:
        ConnectionFault: It breaks the rules of HTTP/2.
    """
    if len(payload) != _LENGTHS.get(kind, len(payload)) or (kind == GOAWAY and len(payload) < 8):
        raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "a control frame of a wrong length")
    if kind == PUSH_PROMISE or (stream and kind in _OF_CONNECTIONS) or (not stream and kind in _OF_STREAMS):
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a control frame in a wrong place")


def read_settings(payload: bytes) -> list[tuple[int, int]]:
    """A peer's settings: names and values, in order."""
    if len(payload) % _SETTING.size:
        raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "SETTINGS of a wrong length")
    return [(name, value) for name, value in _SETTING.iter_unpack(payload)]


def window_update_frame(stream: int, increment: int) -> bytes:
    """Lets the peer send so many bytes more; stream 0 stands for the connection."""
    return frame(WINDOW_UPDATE, 0, stream, _WORD.pack(increment))


def reset_frame(stream: int, code: ErrorCode) -> bytes:
    """Ends a stream at once."""
    return frame(RST_STREAM, 0, stream, _WORD.pack(code))


def goaway_frame(last_stream: int, code: ErrorCode, reason: str = "") -> bytes:
    """Tells that no stream after `last_stream` was or will be looked at."""
    return frame(GOAWAY, 0, 0, _WORD.pack(last_stream) + _WORD.pack(code) + reason.encode())


def read_word(payload: bytes) -> int:
    """Four bytes as a number without its highest bit, which is reserved."""
    return int(_WORD.unpack_from(payload)[0]) & MAX_STREAM_ID


def without_padding(payload: bytes, flags: int) -> bytes:
    """The content of a frame that may be padded."""
    if not flags & PADDED:
        return payload
    if not payload or payload[0] >= len(payload):
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "padding longer than its frame")
    return payload[1 : len(payload) - payload[0]]
