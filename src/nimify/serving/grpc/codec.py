"""Messages on a stream: a flag, a length of four bytes, and the content, which may be compressed."""

from __future__ import annotations

import mmap
import struct
import zlib
from typing import Final

from nimify.serving.bulk import LARGE_RAW_BYTES
from nimify.serving.faults import Kind, RequestFault, invalid

PREFIX_BYTES: Final = 5
_PREFIX: Final = struct.Struct(">BI")
_WINDOW_BITS: Final = {b"gzip": 16 + zlib.MAX_WBITS, b"deflate": zlib.MAX_WBITS}

Content = bytes | bytearray | mmap.mmap
"""The content of a message; that of a large one is memory that was taken as it was filled."""
Part = bytes | memoryview
"""A piece of a message that is to leave; one of a large tensor is the tensor's own memory."""


def message_prefix(length: int) -> bytes:
    """What stands before a message that is not compressed."""
    return _PREFIX.pack(0, length)


class _Large:
    """A large message that has begun: growing a buffer piece by piece would copy all of it at times."""

    __slots__ = ("content", "flag", "left")

    def __init__(self, flag: int, length: int) -> None:
        self.flag = flag
        self.content = mmap.mmap(-1, length)
        self.left = length

    def fill(self, data: bytes | bytearray) -> int:
        """Take what belongs to it; how much that is."""
        taken = min(len(data), self.left)
        self.content.write(data if taken == len(data) else data[:taken])
        self.left -= taken
        return taken


class MessageReader:
    """Cuts what arrives on a stream into messages, none of them longer than the limit, before or after inflating.

    Args:
        limit: Longest message.
        encoding: What `grpc-encoding` says.
    """

    __slots__ = ("_buffer", "_encoding", "_large", "_limit")

    def __init__(self, limit: int, encoding: bytes = b"identity") -> None:
        self._limit = limit
        self._encoding = encoding
        self._buffer = bytearray()
        self._large: _Large | None = None

    @property
    def partial(self) -> bool:
        """Whether a message has begun and not ended."""
        return bool(self._buffer) or self._large is not None

    def feed(self, data: bytes) -> list[Content]:
        """The messages that end in this piece.

        Raises:
            RequestFault: A message is too long, or compressed in a way that was not announced or is broken.
        """
        messages: list[Content] = []
        large = self._large
        if large is not None:
            data = data[large.fill(data) :]
            if large.left:
                return messages
            self._large = None
            messages.append(self._inflated(large.content) if large.flag else large.content)
        elif not self._buffer and len(data) >= PREFIX_BYTES:
            flag, length = _PREFIX.unpack_from(data)
            if len(data) == PREFIX_BYTES + length and not flag and length <= self._limit:
                return [data[PREFIX_BYTES:]]
        buffer = self._buffer
        buffer += data
        while len(buffer) >= PREFIX_BYTES:
            flag, length = _PREFIX.unpack_from(buffer)
            self._check(flag, length)
            end = PREFIX_BYTES + length
            if len(buffer) < end:
                if length >= LARGE_RAW_BYTES:
                    self._large = _Large(flag, length)
                    self._large.fill(buffer[PREFIX_BYTES:])
                    buffer = bytearray()
                break
            if len(buffer) == end:
                content, buffer = buffer, bytearray()
                del content[:PREFIX_BYTES]  # moves nothing: a bytearray can begin later
            else:
                content = buffer[PREFIX_BYTES:end]
                del buffer[:end]
            messages.append(self._inflated(content) if flag else content)
        self._buffer = buffer
        return messages

    def _check(self, flag: int, length: int) -> None:
        if length > self._limit:
            raise self._too_large()
        if flag > 1:
            raise invalid("A message begins with a flag that is neither 0 nor 1.")
        if flag and self._encoding not in _WINDOW_BITS:
            raise invalid("A message is compressed, but 'grpc-encoding' does not say how.")

    def _too_large(self) -> RequestFault:
        return RequestFault(Kind.TOO_LARGE, f"A message must not be longer than {self._limit} bytes.")

    def _inflated(self, content: Content) -> bytes:
        inflater = zlib.decompressobj(_WINDOW_BITS[self._encoding])
        try:
            inflated = inflater.decompress(content, self._limit + 1)
        except zlib.error:
            raise invalid("A compressed message cannot be inflated.") from None
        if len(inflated) > self._limit:
            raise self._too_large()
        if not inflater.eof or inflater.unused_data:
            raise invalid("A compressed message is not whole, or has something behind it.")
        return inflated


def is_known_encoding(encoding: bytes) -> bool:
    """Whether messages may be compressed like this."""
    return encoding == b"identity" or encoding in _WINDOW_BITS
