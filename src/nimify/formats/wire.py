"""Protobuf's wire format, read field by field out of a file that may be huge, damaged or hostile.

Nothing is trusted: every length is checked against what encloses it, numbers are Python's own, and a window of the
file is all that is in memory. The file is read with `pread`, not mapped: a mapped file that somebody shortens in the
meantime would kill the process.
"""

from __future__ import annotations

import os
import re
from typing import Final, NamedTuple

VARINT: Final = 0
FIXED64: Final = 1
LENGTH: Final = 2
FIXED32: Final = 5

_FIXED_SIZES: Final = {FIXED64: 8, FIXED32: 4}
_MAX_VARINT_BYTES: Final = 10
_WINDOW_BYTES: Final = 64 << 10
# Possessive repeats, so that the matcher keeps no state per element.
_RUN_BODIES: Final = {
    VARINT: rb"[\x80-\xff]{0,9}+[\x00-\x7f]",
    FIXED64: rb"[\x00-\xff]{8}",
    FIXED32: rb"[\x00-\xff]{4}",
}


class WireError(Exception):
    """The bytes are not what protobuf writes.

    Attributes:
        problem: What is wrong, for use in a sentence.
        offset: Where in the file.
    """

    def __init__(self, problem: str, offset: int) -> None:
        super().__init__(f"{problem} at byte {offset}")
        self.problem = problem
        self.offset = offset


class Field(NamedTuple):
    """Where one field lies in the file.

    Attributes:
        number: Field number.
        kind: Wire type: `VARINT`, `FIXED64`, `LENGTH` or `FIXED32`.
        start: First byte of the tag.
        value: First byte of the value, behind the length if there is one.
        end: First byte behind the value.
    """

    number: int
    kind: int
    start: int
    value: int
    end: int


class WireReader:
    """Reads fields out of an open file.

    Attributes:
        size: Length of the file when it was opened.
        bytes_read: How many bytes were read so far, for tests and curiosity.
    """

    def __init__(self, descriptor: int, size: int) -> None:
        self.size = size
        self.bytes_read = 0
        self._descriptor = descriptor
        self._window = b""
        self._window_start = 0

    def field(self, start: int, end: int) -> Field:
        """The field that starts at an offset, inside a message that ends at another.

        Raises:
            WireError: It is malformed, or longer than the message or the file.
        """
        tag, position = self._varint(start, end)
        number, kind = tag >> 3, tag & 7
        if number == 0 or number >= 1 << 29:
            raise WireError("there is no valid field", start)
        if kind == VARINT:
            _, after = self._varint(position, end)
        elif kind == LENGTH:
            length, position = self._varint(position, end)
            after = position + length
        elif kind in _FIXED_SIZES:
            after = position + _FIXED_SIZES[kind]
        else:
            raise WireError("there is no valid field", start)
        if after > end:
            problem = "the file ends too early" if after > self.size else "a field is longer than what encloses it"
            raise WireError(problem, start)
        return Field(number, kind, start, position, after)

    def content(self, start: int, end: int) -> bytes:
        """The bytes between two offsets.

        Raises:
            WireError: The file ends before.
        """
        if end - start <= _WINDOW_BYTES:
            self._load(start, end - start)
            offset = start - self._window_start
            data = self._window[offset : offset + end - start]
        else:
            data = self._pread(start, end - start)
        if len(data) != end - start:
            raise WireError("the file ends too early", start + len(data))
        return data

    def run_end(self, field: Field, end: int) -> int:
        """Where a run of numbers with the tag of `field` ends; quick for millions of them."""
        tag = self.content(field.start, field.start + 1)
        if field.kind not in _RUN_BODIES or tag >= b"\x80":
            return field.end
        pattern = re.compile(b"(?:" + re.escape(tag) + _RUN_BODIES[field.kind] + b")++")
        position = field.end
        while position < end:
            self._load(position, min(_WINDOW_BYTES, end - position))
            offset = position - self._window_start
            match = pattern.match(self._window, offset, offset + end - position)
            if match is None:
                break
            position = self._window_start + match.end()
        return position

    def _varint(self, start: int, end: int) -> tuple[int, int]:
        self._load(start, min(_MAX_VARINT_BYTES, end - start))
        window, offset = self._window, start - self._window_start
        value = 0
        for index in range(min(_MAX_VARINT_BYTES, end - start, len(window) - offset)):
            byte = window[offset + index]
            value |= (byte & 0x7F) << (7 * index)
            if byte < 0x80:
                return value & 0xFFFF_FFFF_FFFF_FFFF, start + index + 1
        problem = "the file ends too early" if end - start < _MAX_VARINT_BYTES else "there is no valid number"
        raise WireError(problem, start)

    def _load(self, start: int, length: int) -> None:
        """Make sure that the window holds these bytes, as far as the file has them."""
        inside = self._window_start <= start and start + length <= self._window_start + len(self._window)
        if not inside:
            self._window = self._pread(start, _WINDOW_BYTES)
            self._window_start = start

    def _pread(self, start: int, length: int) -> bytes:
        data = os.pread(self._descriptor, length, start)
        while 0 < len(data) < length and (more := os.pread(self._descriptor, length - len(data), start + len(data))):
            data += more
        self.bytes_read += len(data)
        return data


def encode_varint(value: int) -> bytes:
    """A non-negative number as protobuf writes it."""
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def encode_message(number: int, content: bytes) -> bytes:
    """A field that holds a message, text or bytes."""
    return encode_varint(number << 3 | LENGTH) + encode_varint(len(content)) + content
