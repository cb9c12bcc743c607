"""gRPC's status codes, and how a call that fails ends: its trailers as bytes.

Response headers are written here and not by a header compressor: nothing of them enters a table, so they do not depend
on the connection and can be made once.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from typing import Final

from nimify.serving.faults import Kind, RequestFault


class StatusCode(IntEnum):
    """The codes that the service answers with."""

    OK = 0
    CANCELLED = 1
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    RESOURCE_EXHAUSTED = 8
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    UNAUTHENTICATED = 16


CODE_BY_KIND: Final[Mapping[Kind, StatusCode]] = {
    Kind.INVALID_ARGUMENT: StatusCode.INVALID_ARGUMENT,
    Kind.REFUSED_BY_MODEL: StatusCode.INVALID_ARGUMENT,
    Kind.UNAUTHENTICATED: StatusCode.UNAUTHENTICATED,
    Kind.NOT_FOUND: StatusCode.NOT_FOUND,
    Kind.METHOD_NOT_ALLOWED: StatusCode.UNIMPLEMENTED,
    Kind.UNSUPPORTED: StatusCode.UNIMPLEMENTED,
    Kind.UNSUPPORTED_ENCODING: StatusCode.UNIMPLEMENTED,
    Kind.TOO_LARGE: StatusCode.RESOURCE_EXHAUSTED,
    Kind.TARGET_TOO_LONG: StatusCode.RESOURCE_EXHAUSTED,
    Kind.HEADERS_TOO_LARGE: StatusCode.RESOURCE_EXHAUSTED,
    Kind.EXPECTATION_FAILED: StatusCode.INVALID_ARGUMENT,
    Kind.RECEIPT_TIMEOUT: StatusCode.DEADLINE_EXCEEDED,
    Kind.UNAVAILABLE: StatusCode.UNAVAILABLE,
    Kind.DEADLINE_EXCEEDED: StatusCode.DEADLINE_EXCEEDED,
    Kind.INTERNAL: StatusCode.INTERNAL,
}
"""gRPC's table of faults; the only place that knows both."""

_STATUS_200: Final = b"\x88"
_PRINTABLE: Final = frozenset(range(0x20, 0x7F)) - {0x25}
"""What stands for itself in `grpc-message`; `%` does not."""
_LITERAL: Final = b"\x10"
"""Begins a field whose name and value are spelled out and that no table may keep (RFC 7541, section 6.2.3)."""


def header_field(name: bytes, value: bytes) -> bytes:
    """One header field, as it stands in a header block."""
    return _LITERAL + _header_string(name) + _header_string(value)


def _header_string(text: bytes) -> bytes:
    length = len(text)
    if length < 127:
        return bytes((length,)) + text
    length -= 127
    prefix = bytearray((127,))
    while length >= 128:
        prefix.append(length % 128 + 128)
        length //= 128
    prefix.append(length)
    return bytes(prefix) + text


ACCEPTED_ENCODINGS: Final = header_field(b"grpc-accept-encoding", b"identity,deflate,gzip")
RESPONSE_HEADERS: Final = _STATUS_200 + header_field(b"content-type", b"application/grpc") + ACCEPTED_ENCODINGS
OK_TRAILERS: Final = header_field(b"grpc-status", b"0")


def fault_trailers(fault: RequestFault) -> bytes:
    """How a call ends that has no (further) answer."""
    code = CODE_BY_KIND[fault.kind]
    trailers = header_field(b"grpc-status", b"%d" % code) + header_field(b"grpc-message", _percent(fault.message))
    if fault.retry_after_s:
        trailers += header_field(b"grpc-retry-pushback-ms", b"%d" % (fault.retry_after_s * 1000))
    return trailers


NO_GRPC: Final = b"This port speaks gRPC: POST, and a content type that begins with application/grpc.\n"
"""Said to what is no gRPC."""


def http_refusal(status: int) -> bytes:
    """The headers of the answer to what is no gRPC."""
    return header_field(b":status", b"%d" % status) + header_field(b"content-type", b"text/plain")


def _percent(text: str) -> bytes:
    return b"".join(bytes((byte,)) if byte in _PRINTABLE else b"%%%02X" % byte for byte in text.encode())
