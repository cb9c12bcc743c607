"""What a peer may still send, on one stream or on all of them together (RFC 9113, section 5.2)."""

from __future__ import annotations

from typing import Final

CONNECTION_WINDOW: Final = 16 << 20
"""Bytes that a client may send on all streams before it is told that it may send more."""
STREAM_WINDOW: Final = 1 << 20
"""Bytes that it may send on one stream."""

_WORTH_A_FRAME: Final = 4
"""One part of so many must have arrived before the peer is told of more: sooner costs frames, later costs its time."""


class ReceiveWindow:
    """Bytes that may arrive; those that have arrived may be let come again."""

    __slots__ = ("_arrived", "_enough", "_left")

    def __init__(self, size: int) -> None:
        self._left = size
        self._arrived = 0
        self._enough = size // _WORTH_A_FRAME

    def take(self, size: int) -> bool:
        """Count bytes in; false when they are more than the peer was let send."""
        self._left -= size
        self._arrived += size
        return self._left >= 0

    def widen(self) -> int:
        """Let as many bytes come again as have arrived; 0, and nothing changes, while those are too few for a frame."""
        arrived = self._arrived
        if arrived < self._enough:
            return 0
        self._left += arrived
        self._arrived = 0
        return arrived
