"""The streams of one connection: those with a call in progress, and what must be known of those that have ended."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

from nimify.serving.grpc.frames import ConnectionFault, ErrorCode, StreamFault

if TYPE_CHECKING:
    from nimify.serving.grpc.call import Call

MAX_STREAMS: Final = 256
"""Calls at once on one connection."""
_REMEMBERED_RESETS: Final = 1024


class Streams:
    """Calls by stream.

    Attributes:
        calls: Those in progress.
        last: The last stream that the client has begun.
    """

    __slots__ = ("_reset", "calls", "last")

    def __init__(self) -> None:
        self.calls: dict[int, Call] = {}
        self.last = 0
        self._reset: deque[int] = deque(maxlen=_REMEMBERED_RESETS)
        """Those that we ended last: what comes on them was sent before the client heard of it."""

    @property
    def full(self) -> bool:
        """Whether a further call is too much."""
        return len(self.calls) >= MAX_STREAMS

    def was_reset(self, stream: int) -> None:
        """Remember that we ended a stream before the client did."""
        self._reset.append(stream)

    def opened(self, stream: int) -> Call | None:
        """The call of a stream; `None` when it has ended.

        Raises:
            ConnectionFault: There never was one.
        """
        if stream > self.last or not stream % 2:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a frame for a stream that was not opened")
        return self.calls.get(stream)

    def receiving(self, stream: int) -> Call | None:
        """The call that DATA is for; `None` when nobody wants it any more.

        Raises:
            StreamFault: The client itself had ended the stream.
        """
        call = self.calls.get(stream)
        if call is None or call.half_closed:
            if call is None and stream in self._reset:
                return None
            raise StreamFault(ErrorCode.STREAM_CLOSED)
        return call

    def trailed(self, stream: int) -> Call | None:
        """The call that trailers are for; `None` when nobody wants them any more.

        Raises:
            ConnectionFault: The stream has ended.
            StreamFault: The client itself had ended its side.
        """
        call = self.calls.get(stream)
        if call is None:
            if stream in self._reset:
                return None
            raise ConnectionFault(ErrorCode.STREAM_CLOSED, "HEADERS on a stream that has ended")
        if call.half_closed:
            raise StreamFault(ErrorCode.STREAM_CLOSED)
        return call
