"""The headers with which a call begins: decompressed, checked, and remembered.

A client sends the same block for every call of its kind, a few bytes that point into the table that both ends keep.
As long as the table stands, equal blocks mean equal headers, so they are decoded and checked once.
"""

from __future__ import annotations

from typing import Final

import hpack
from hpack.exceptions import HPACKError, OversizedHeaderListError
from hpack.table import HeaderTable

from nimify.serving.faults import Kind, RequestFault, invalid
from nimify.serving.grpc.codec import is_known_encoding
from nimify.serving.grpc.frames import ConnectionFault, ErrorCode, StreamFault
from nimify.serving.grpc.status import http_refusal

MAX_HEADER_LIST: Final = 16_384
"""Bytes of headers that a call may have, as HTTP/2 counts them; gRPC's usual limit is half of that."""
_MOST_DECODED: Final = 131_072
"""Beyond this nothing is decoded any more, and the connection ends: its tables could not be kept in step."""
_MOST_REMEMBERED: Final = 64
_LONGEST_REMEMBERED: Final = 512
_LONGEST_TIMEOUT_DIGITS: Final = 8
_UNIT_S: Final = {b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}
_REQUIRED: Final = (b":method", b":scheme", b":path")
_PSEUDO: Final = frozenset({*_REQUIRED, b":authority"})
_OF_CONNECTIONS: Final = frozenset(
    {b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade"}
)
_CONTENT_TYPES: Final = (b"application/grpc", b"application/grpc+proto")


class CallHead:
    """How a call begins.

    Attributes:
        path: `/package.Service/Method`.
        metadata: Values by lower-case name; the last one when a name is given twice.
        timeout_s: How long the client waits; `None` when it does not say.
        encoding: How messages may be compressed.
        content_length: What the client says that all of its bytes are; -1 when it does not say.
        refusal: The headers of the answer to what is no gRPC.
        fault: Why a call that is gRPC cannot go on.
    """

    __slots__ = ("content_length", "encoding", "fault", "metadata", "path", "refusal", "timeout_s")

    def __init__(self, path: bytes, metadata: dict[bytes, bytes]) -> None:
        self.path = path
        self.metadata = metadata
        self.timeout_s: float | None = None
        self.encoding = metadata.get(b"grpc-encoding", b"identity")
        self.content_length = -1
        self.refusal: bytes | None = None
        self.fault: RequestFault | None = None


class _CountingTable(HeaderTable):
    """Counts its changes."""

    def __init__(self) -> None:
        super().__init__()
        self.changes = 0

    def add(self, name: bytes, value: bytes) -> None:
        self.changes += 1
        super().add(name, value)


class HeadReader:
    """Reads the header blocks of one connection; every block must pass through it, in order."""

    def __init__(self) -> None:
        self._table = _CountingTable()
        self._decoder = hpack.Decoder(_MOST_DECODED)
        self._decoder.header_table = self._table
        self._remembered: dict[bytes, CallHead] = {}

    def read(self, block: bytes) -> CallHead:
        """The head of a call.

        Raises:
            ConnectionFault: It cannot be decompressed.
            StreamFault: It breaks the rules of HTTP/2.
        """
        head = self._remembered.get(block)
        if head is not None:
            return head
        changes = self._table.changes
        fields = self.decoded(block)
        head = checked_head(fields)
        if self._table.changes == changes and len(block) <= _LONGEST_REMEMBERED:
            if len(self._remembered) >= _MOST_REMEMBERED:
                self._remembered.clear()
            self._remembered[block] = head
        return head

    def decoded(self, block: bytes) -> list[tuple[bytes, bytes]]:
        """The fields of a block.

        Raises:
            ConnectionFault: It cannot be decompressed.
        """
        changes = self._table.changes
        resized = bool(block) and block[0] & 0xE0 == 0x20
        try:
            fields = [(bytes(name), bytes(value)) for name, value in self._decoder.decode(block, raw=True)]
        except OversizedHeaderListError:
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, "too many headers") from None
        except (HPACKError, IndexError, ValueError):
            raise ConnectionFault(ErrorCode.COMPRESSION_ERROR, "headers cannot be decompressed") from None
        if resized or self._table.changes != changes:
            self._table.changes += 1
            self._remembered.clear()
        return fields


def checked_head(fields: list[tuple[bytes, bytes]]) -> CallHead:
    """The head that these fields make.

    Raises:
        StreamFault: They break the rules of HTTP/2.
    """
    pseudo: dict[bytes, bytes] = {}
    metadata: dict[bytes, bytes] = {}
    size = 0
    for name, value in fields:
        size += len(name) + len(value) + 32
        if name[:1] == b":":
            if metadata or name in pseudo or name not in _PSEUDO:
                raise StreamFault(ErrorCode.PROTOCOL_ERROR)
            pseudo[name] = value
        else:
            _check_field(name, value)
            metadata[name] = value
    if not all(pseudo.get(name) for name in _REQUIRED):
        raise StreamFault(ErrorCode.PROTOCOL_ERROR)
    head = CallHead(pseudo[b":path"], metadata)
    head.content_length = _content_length(metadata)
    content_type = metadata.get(b"content-type", b"").partition(b";")[0].strip().lower()
    if pseudo[b":method"] != b"POST":
        head.refusal = http_refusal(405)
    elif content_type not in _CONTENT_TYPES:
        head.refusal = http_refusal(415)
    else:
        head.fault = _read_grpc_fields(head, size)
    return head


def _check_field(name: bytes, value: bytes) -> None:
    if name != name.lower() or not name or name in _OF_CONNECTIONS:
        raise StreamFault(ErrorCode.PROTOCOL_ERROR)
    if name == b"te" and value != b"trailers":
        raise StreamFault(ErrorCode.PROTOCOL_ERROR)
    if b"\0" in value or b"\r" in value or b"\n" in value:
        raise StreamFault(ErrorCode.PROTOCOL_ERROR)


def _content_length(metadata: dict[bytes, bytes]) -> int:
    text = metadata.get(b"content-length")
    if text is None:
        return -1
    if not text.isdigit() or len(text) > 19:
        raise StreamFault(ErrorCode.PROTOCOL_ERROR)
    return int(text)


def _read_grpc_fields(head: CallHead, size: int) -> RequestFault | None:
    if size > MAX_HEADER_LIST:
        message = f"The headers of a call must not be longer than {MAX_HEADER_LIST} bytes together."
        return RequestFault(Kind.HEADERS_TOO_LARGE, message)
    if not is_known_encoding(head.encoding):
        return RequestFault(Kind.UNSUPPORTED_ENCODING, "Messages may be compressed with gzip or deflate only.")
    timeout = head.metadata.get(b"grpc-timeout")
    if timeout is not None:
        digits, unit_s = timeout[:-1], _UNIT_S.get(timeout[-1:])
        if not digits.isdigit() or len(digits) > _LONGEST_TIMEOUT_DIGITS or unit_s is None:
            return invalid("'grpc-timeout' must be at most 8 digits and one of H, M, S, m, u and n.")
        head.timeout_s = int(digits) * unit_s
    return None
