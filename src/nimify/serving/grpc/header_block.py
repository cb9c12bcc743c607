"""Header blocks, which may come in several frames: put together, and never longer than a client may need."""

from __future__ import annotations

from typing import Final, NamedTuple

from nimify.serving.grpc import frames
from nimify.serving.grpc.frames import ConnectionFault, ErrorCode

_LONGEST: Final = 65_536
_MOST_CONTINUATIONS: Final = 64
"""Each may be empty, so that their length alone bounds nothing (CVE-2024-27316 and its kin)."""


class HeaderBlock(NamedTuple):
    """A whole block.

    Attributes:
        ends_stream: Whether nothing follows on the stream.
        depends_on_itself: Whether it asks for a priority that makes no sense.
    """

    stream: int
    content: bytes
    ends_stream: bool
    depends_on_itself: bool


class BlockReader:
    """Puts the blocks of one connection together.

    Attributes:
        stream: Whose block has begun and not ended; 0 when none has. Nothing else may come until it has ended.
    """

    __slots__ = ("_continuations", "_depends_on_itself", "_ends_stream", "_received", "stream")

    def __init__(self) -> None:
        self.stream = 0
        self._received = bytearray()
        self._ends_stream = False
        self._depends_on_itself = False
        self._continuations = 0

    def begin(self, flags: int, stream: int, payload: bytes) -> HeaderBlock | None:
        """Take a HEADERS frame; the block if it is whole.

        Raises:
            ConnectionFault: It breaks the rules of HTTP/2.
        """
        if not stream % 2:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "clients open streams with odd numbers")
        content = frames.without_padding(payload, flags)
        depends_on_itself = False
        if flags & frames.WITH_PRIORITY:
            if len(content) < frames.PRIORITY_BYTES:
                raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "HEADERS of a wrong length")
            depends_on_itself = frames.read_word(content) == stream
            content = content[frames.PRIORITY_BYTES :]
        ends_stream = bool(flags & frames.END_STREAM)
        if flags & frames.END_HEADERS:
            return HeaderBlock(stream, content, ends_stream, depends_on_itself)
        self.stream = stream
        self._received = bytearray(content)
        self._ends_stream = ends_stream
        self._depends_on_itself = depends_on_itself
        self._continuations = 0
        return None

    def go_on(self, flags: int, payload: bytes) -> HeaderBlock | None:
        """Take a CONTINUATION frame; the block if it is whole now.

        Raises:
            ConnectionFault: There is nothing to go on with, or it goes on for too long.
        """
        if not self.stream:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "CONTINUATION of nothing")
        self._continuations += 1
        self._received += payload
        if self._continuations > _MOST_CONTINUATIONS or len(self._received) > _LONGEST:
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, "headers are too long")
        if not flags & frames.END_HEADERS:
            return None
        block = HeaderBlock(self.stream, bytes(self._received), self._ends_stream, self._depends_on_itself)
        self.stream, self._received = 0, bytearray()
        return block
