"""gzip and deflate, both ways: bodies unpacked within a limit, and packed when a client asks for it."""

from __future__ import annotations

import zlib
from typing import Final

from nimify.serving.faults import Kind, RequestFault, invalid
from nimify.serving.http.messages import Body

PACKED_FROM_BYTES: Final = 4 * 1024
"""Shorter answers are sent as they are: packing them costs more than it saves."""

_PIECE: Final = 256 * 1024
_WINDOW_BITS: Final = {b"gzip": zlib.MAX_WBITS | 16, b"deflate": zlib.MAX_WBITS}
"""zlib's numbers for the two formats; HTTP's deflate is zlib's own."""
_LEVEL: Final = 1
"""Tensors hardly shrink: what can be saved is saved by the quickest level."""
_MAX_MEMBERS: Final = 16
_QUALITY_ZERO: Final = frozenset({b"q=0", b"q=0.0", b"q=0.00", b"q=0.000"})


def request_encoding(header: bytes | None) -> bytes | None:
    """What a request's body is packed with; `None` when it is not.

    Raises:
        RequestFault: With something else than gzip or deflate.
    """
    name = (b"identity" if header is None else header).strip().lower()
    if name == b"identity":
        return None
    if name == b"x-gzip":
        return b"gzip"
    if name not in _WINDOW_BITS:
        raise RequestFault(Kind.UNSUPPORTED_ENCODING, "The content encodings that are understood are gzip and deflate.")
    return name


def unpack(body: Body, encoding: bytes, *, limit: int) -> bytearray:
    """The content of a packed body.

    Never holds more than `limit` bytes, however far the body would unfold.

    Raises:
        RequestFault: It is longer than `limit`, cut short, or not packed like that.
    """
    content = bytearray()
    rest: Body = body
    for _ in range(_MAX_MEMBERS):
        rest = _unpack_member(rest, encoding, content, limit)
        if not rest:
            return content
        if encoding != b"gzip":
            break  # only gzip may have several members
    raise invalid("The body goes on behind its compressed content.")


def _unpack_member(packed: Body, encoding: bytes, content: bytearray, limit: int) -> bytes:
    """Add one member's content; what is left behind it."""
    unpacker = zlib.decompressobj(_WINDOW_BITS[encoding])
    pending: Body = packed
    try:
        while not unpacker.eof:
            piece = unpacker.decompress(pending, min(_PIECE, limit - len(content) + 1))
            content += piece
            if len(content) > limit:
                raise RequestFault(Kind.TOO_LARGE, f"The body is longer than {limit} bytes when it is unpacked.")
            pending = unpacker.unconsumed_tail
            if not pending and not piece and not unpacker.eof:
                raise invalid(f"The body ends inside its {encoding.decode()} content.")
    except zlib.error:
        raise invalid(f"The body is not {encoding.decode()}.") from None
    return unpacker.unused_data


def answer_encoding(header: bytes) -> bytes | None:
    """What an answer may be packed with, by a client's Accept-Encoding; `None` for nothing that we have."""
    names = set()
    for part in header.lower().split(b","):
        name, _, parameters = part.partition(b";")
        if parameters.replace(b" ", b"") not in _QUALITY_ZERO:
            names.add(name.strip())
    for name in (b"gzip", b"deflate"):
        if name in names:
            return name
    return None


def is_packed(path: bytes) -> bool:
    """Whether the answers of a route may be packed: all but what `/v2` tells beside inferences.

    Triton packs inferences only, and its asyncio client for HTTP, which always says that it takes gzip, unpacks no
    other answer.
    """
    return not path.startswith(b"/v2") or path.endswith(b"/infer")


def pack(body: Body, encoding: bytes) -> Body:
    """The body packed, or as it is when it does not shrink."""
    packer = zlib.compressobj(_LEVEL, zlib.DEFLATED, _WINDOW_BITS[encoding])
    packed = bytearray()
    view = memoryview(body)
    for start in range(0, len(view), _PIECE):
        packed += packer.compress(view[start : start + _PIECE])
    packed += packer.flush()
    return packed if len(packed) < len(view) else body
