"""Where collectors leave what they measured: memory that all workers of a service share.

One worker collects, and whichever worker is asked for `/v1/metrics` reads. Nobody waits for anybody: each collector has
two buffers, fills the one that is not read, and then points to it with a single number. A checksum tells a reader that
was overtaken to read again. A collector's values have an end: what is not renewed by then counts as lost, whatever the
reason, be it a hanging collector or a dead worker.
"""

from __future__ import annotations

import mmap
import struct
import time
import zlib
from collections.abc import Callable
from typing import Final

from nimify.metrics.collectors.samples import MAX_TEXT_BYTES

_CHECKSUM: Final = struct.Struct("=I")
_HEAD_BYTES: Final = 16
"""Two numbers: the pointer, which is a generation (upper half) and a length (lower half); and the end, in seconds."""
_BUFFER_BYTES: Final = MAX_TEXT_BYTES + 8  # with the checksum, and a multiple of 8
_PLACE_BYTES: Final = _HEAD_BYTES + 2 * _BUFFER_BYTES
_TRIES: Final = 5


class Board:
    """A place for each collector; made before the workers are forked.

    Pages that are not written to cost no memory.
    """

    def __init__(self, places: int, *, now_s: Callable[[], float] = time.monotonic) -> None:
        self._memory = memoryview(mmap.mmap(-1, max(1, places) * _PLACE_BYTES))
        self._pointers = self._memory.cast("Q")
        self._ends_s = self._memory.cast("d")
        self._now_s = now_s

    def put(self, place: int, text: bytes, *, good_for_s: float) -> None:
        """Leave what was measured; called by one thread only, of one worker only."""
        cell = place * _PLACE_BYTES // 8
        generation = (self._pointers[cell] >> 32) + 1 & 0xFFFFFFFF
        buffer = self._buffer(place, generation)
        buffer[_CHECKSUM.size : _CHECKSUM.size + len(text)] = text
        _CHECKSUM.pack_into(buffer, 0, zlib.crc32(text))
        self._pointers[cell] = generation << 32 | len(text)
        self._ends_s[cell + 1] = self._now_s() + good_for_s

    def withdraw(self, place: int) -> None:
        """Let what was left there count no more."""
        self._ends_s[place * _PLACE_BYTES // 8 + 1] = 0.0

    def get(self, place: int) -> bytes | None:
        """What was left there last; `None` when there is nothing, or nothing that still counts."""
        cell = place * _PLACE_BYTES // 8
        for _ in range(_TRIES):
            if self._now_s() >= self._ends_s[cell + 1]:
                return None
            pointer = self._pointers[cell]
            buffer = self._buffer(place, pointer >> 32)
            text = bytes(buffer[_CHECKSUM.size : _CHECKSUM.size + (pointer & 0xFFFFFFFF)])
            if _CHECKSUM.unpack_from(buffer)[0] == zlib.crc32(text):
                return text
        return None

    def _buffer(self, place: int, generation: int) -> memoryview:
        start = place * _PLACE_BYTES + _HEAD_BYTES + (generation & 1) * _BUFFER_BYTES
        return self._memory[start : start + _BUFFER_BYTES]
