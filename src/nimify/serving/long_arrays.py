"""Large JSON, piece by piece: long arrays of numbers never become one long list.

A JSON parser and numpy hold the interpreter's lock from the first byte to the last, on whatever thread they run: some
thirty milliseconds for an image, a second for the longest body, in which no other request moves. So the long arrays
are cut out of a document, which leaves a short one, and are read a few thousand numbers at a time. That also spares
the lists, which take ten times the memory of the text.

Where an array begins and ends, and how it is nested, is told by its brackets and commas alone.
"""

from __future__ import annotations

import mmap
import re
import secrets
from collections.abc import Iterable, Iterator, Sequence
from math import prod
from typing import Any, Final, NamedTuple

import numpy as np
import orjson

from nimify.serving.bulk import give_way
from nimify.serving.engines.engine import Array
from nimify.serving.faults import RequestFault, invalid
from nimify.serving.json_tensors import elements, float_elements, quoted
from nimify.tensors import Datatype

LONG: Final = 4096
"""Bytes of an array that is worth cutting out."""
_PIECE: Final = 32 * 1024
_WINDOW: Final = 64 * 1024
_FIRST_WINDOW: Final = 256
"""Most arrays are short, and most strings near: what is looked at for the end of one grows with the way to it."""
_WHOLE_BYTES: Final = 1 << 20
"""An array of an odd form is read as a whole up to this length, to say exactly what is odd about it."""
_MAX_STRING_STEPS: Final = 100_000
_NUMBERS_AT_ONCE: Final = 8192
_COPIED_AT_ONCE: Final = 1 << 20

_NEXT: Final = re.compile(rb'["\[]')
_ELSEWHERE: Final = (b'"', b"}", b"{", b":")
"""What valid JSON has outside of arrays of numbers only: four searches for one byte take a tenth of what a match of
all that may be in them takes."""
_SPAN: Final = re.compile(rb"[-+0-9.eE,\[\] \t\r\nrufalsn]*")  # and the letters of true, false and null
_NOT_STRUCTURE: Final = bytes(byte for byte in range(256) if byte not in b"[],")
_BRACKETS_TO_BLANKS: Final = bytes.maketrans(b"[]", b"  ")
_OPEN, _CLOSE = ord("["), ord("]")


Text = bytes | bytearray | mmap.mmap
"""What a body is kept in."""


class _Span(NamedTuple):
    """Where a long array is, and whether it has no arrays in it."""

    start: int
    end: int
    flat: bool


class LongArrays:
    """A document, and the long arrays that were cut out of it.

    Attributes:
        skeleton: The document with an object in the place of each of them, which fits nowhere else.
    """

    def __init__(self, text: Text) -> None:
        self._text = text
        # A client cannot know it, so nothing that he sends can pass for a cut.
        self._token = secrets.token_hex(16)
        self._spans = list(_spans(text))
        self._unread = set(range(len(self._spans)))
        self.skeleton = self._cut()

    def _cut(self) -> bytes:
        parts: list[bytes | bytearray] = []
        position = 0
        for number, span in enumerate(self._spans):
            parts.append(self._text[position : span.start])
            parts.append(b'{"%s":%d}' % (self._token.encode(), number))
            position = span.end
        parts.append(self._text[position:])
        return b"".join(parts)

    def find(self, data: Any) -> NumberText | None:
        """The array that was cut out where `data` stands; `None` when it is what the client sent."""
        if type(data) is not dict or self._token not in data:
            return None
        number = data[self._token]
        self._unread.discard(number)
        return NumberText(self._text, self._spans[number])

    def check_unread(self) -> None:
        """See to it that what nobody asked for is made of what arrays of numbers are made of, at least.

        Raises:
            RequestFault: It is not.
        """
        for number in self._unread:
            start, end, _ = self._spans[number]
            for position in range(start, end, _WINDOW):
                if not _SPAN.fullmatch(self._text, position, min(position + _WINDOW, end)):
                    raise _not_json()
                give_way()


class NumberText:
    """One long array, as text."""

    def __init__(self, text: Text, span: _Span) -> None:
        self._text = text
        self._start, self._end, self._flat = span

    def array(self, datatype: Datatype, name: str) -> Array | list[Any]:
        """The elements in the shape of their nesting; plain lists when their form is odd.

        Raises:
            RequestFault: It is not valid JSON, or an element does not fit the datatype.
        """
        shape = None if self._flat else _shape(self._structure())
        if shape is None and not self._flat:
            return self._as_lists(name)
        pieces = list(self._pieces(datatype, name))
        size = sum(piece.size for piece in pieces)
        if shape is None:
            shape = (size,)
            if len(pieces) > 1 and not all(piece.size for piece in pieces):
                raise _not_json()  # nothing between two commas, or a comma and a bracket
        elif size != prod(shape):
            return self._as_lists(name)
        flat = np.empty(size, dtype=pieces[0].dtype)
        position = 0
        for piece in pieces:
            flat[position : position + piece.size] = piece
            position += piece.size
            give_way()
        return flat.reshape(shape)

    def _as_lists(self, name: str) -> list[Any]:
        if self._end - self._start > _WHOLE_BYTES:
            raise invalid(f"{quoted(name)} is ragged: lists at one depth must have one length.")
        lists: list[Any] = _loaded(self._text[self._start : self._end])
        return lists

    def _structure(self) -> bytes:
        """The brackets and commas of the text."""
        parts = []
        for start in range(self._start, self._end, _WINDOW):
            parts.append(self._text[start : min(start + _WINDOW, self._end)].translate(None, _NOT_STRUCTURE))
            give_way()
        return b"".join(parts)

    def _pieces(self, datatype: Datatype, name: str) -> Iterator[Array]:
        text, position, end = self._text, self._start, self._end
        while position < end:
            cut = end
            if end - position > _PIECE:
                cut = text.rfind(b",", position, position + _PIECE)
                if cut < 0:  # a very long number, or very many blanks
                    cut = text.find(b",", position, end)
                cut = cut if cut >= 0 else end
            # Blanks in the place of brackets: without them "1] [2" would become 12.
            numbers = b"".join((b"[", text[position:cut].translate(_BRACKETS_TO_BLANKS), b"]"))
            flat = _loaded(numbers)
            # Outside of strings, only `true`, `false` and `null` have one of these letters.
            if datatype.is_float and b"u" not in numbers and b"l" not in numbers:
                yield float_elements(flat, datatype, name)
            else:
                yield elements(flat, datatype, name)
            position = cut + 1
            give_way()


def _loaded(text: bytes | bytearray) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        raise _not_json() from None


def _not_json() -> RequestFault:
    return invalid("The body is not valid JSON.")


def _spans(text: Text) -> Iterator[_Span]:
    """Where the long arrays of numbers are, outside of strings."""
    position, steps = 0, 0
    while match := _NEXT.search(text, position):
        if text[match.start()] == _OPEN:
            end = _span_end(text, match.start())
            if end - match.start() >= LONG:
                span = _closed(text, match.start(), end)
                if span is not None and span.end - span.start >= LONG:
                    yield span
            # Nothing else in the span can be long: it holds no string, and no array that begins later ends later.
            position = max(end, match.end())
        else:
            position = _string_end(text, match.end())
        steps += 1
        if steps > _MAX_STRING_STEPS:
            return  # a document of very many strings is read as a whole
        give_way()


def _string_end(text: Text, position: int) -> int:
    while (end := text.find(b'"', position)) >= 0:
        escapes = end
        while escapes > position and text[escapes - 1] == 0x5C:
            escapes -= 1
        if (end - escapes) % 2 == 0:
            return end + 1
        position = end + 1
    return len(text)


def _span_end(text: Text, start: int) -> int:
    """The first byte behind `start` that no array of numbers has."""
    position, length = start, _FIRST_WINDOW
    while window := text[position : position + length]:
        end = len(window)
        for byte in _ELSEWHERE:
            found = window.find(byte, 0, end)
            end = found if found >= 0 else end
        position += end
        if end < len(window):
            break
        length = min(2 * length, _WINDOW)
        give_way()
    return position


def _closed(text: Text, start: int, end: int) -> _Span | None:
    """From the bracket at `start` to behind the one that closes it."""
    depth, opened = 0, 0
    for position in range(start, end, _WINDOW):
        window = text[position : min(position + _WINDOW, end)]
        opens, closes = window.count(b"["), window.count(b"]")
        if closes and closes >= depth:
            behind = _behind_depth_zero(window, depth)
            if behind is not None:
                opened += window.count(b"[", 0, behind)
                return _Span(start, position + behind, flat=opened == 1)
        depth += opens - closes
        opened += opens
        give_way()
    return None


def _behind_depth_zero(window: bytes | bytearray, depth: int) -> int | None:
    """Behind the bracket that closes the last of `depth` lists that are open where the window begins."""
    codes = np.frombuffer(window, np.uint8)
    brackets = np.flatnonzero((codes == _OPEN) | (codes == _CLOSE))
    depths = depth + np.cumsum(np.where(codes[brackets] == _OPEN, 1, -1))
    at_zero = np.flatnonzero(depths == 0)
    return int(brackets[at_zero[0]]) + 1 if at_zero.size else None


def _shape(structure: bytes) -> tuple[int, ...] | None:
    """The lengths of regularly nested lists, from their brackets and commas; `None` when they are not regular."""
    rank = len(structure) - len(structure.lstrip(b"["))
    end = structure.find(b"]")
    shape = [end - rank + 1]
    unit = b"[" + b"," * (end - rank) + b"]"
    for level in range(1, rank):
        # The first list of this level ends where so many brackets close one behind the other.
        end = structure.find(b"]" * (level + 1))
        length = end + level + 1 - (rank - level - 1)
        count, rest = divmod(length - 1, len(unit) + 1)
        if end < 0 or rest or count < 1:
            return None
        unit = b"[" + (unit + b",") * (count - 1) + unit + b"]"
        shape.append(count)
    return tuple(reversed(shape)) if unit == structure else None


def json_pieces(array: Array) -> Iterator[bytes]:
    """What `orjson` writes for an array of numbers, a few thousand at a time."""
    if array.size <= _NUMBERS_AT_ONCE:
        yield orjson.dumps(np.ascontiguousarray(array), option=orjson.OPT_SERIALIZE_NUMPY)
        return
    row = array[0].size
    step = max(1, _NUMBERS_AT_ONCE // row)
    yield b"["
    for start in range(0, len(array), step):
        if start:
            yield b","
        if row > _NUMBERS_AT_ONCE:
            yield from json_pieces(array[start])
        else:
            part = np.ascontiguousarray(array[start : start + step])
            yield orjson.dumps(part, option=orjson.OPT_SERIALIZE_NUMPY)[1:-1]
        give_way()
    yield b"]"


class LongText:
    """A document with long parts, put together so that no step of it takes long."""

    def __init__(self) -> None:
        self._token = secrets.token_hex(16)
        self._parts: list[Iterable[bytes]] = []

    def cut(self, array: Array) -> str:
        """What to write in the place of an array of numbers."""
        self._parts.append(json_pieces(array))
        return self._token

    def join(self, skeleton: bytes, *blobs: memoryview) -> memoryview:
        """The document with the arrays in their places, in the order in which they were cut, and raw bytes behind."""
        texts = skeleton.split(b'"%s"' % self._token.encode())
        pieces: list[bytes | memoryview] = [texts[0]]
        for text, part in zip(texts[1:], self._parts, strict=True):
            pieces.extend(part)
            pieces.append(text)
        return _joined([*pieces, *blobs])


def _joined(pieces: Sequence[bytes | memoryview]) -> memoryview:
    """Pieces one behind the other, in memory that is taken as it is filled."""
    whole = mmap.mmap(-1, max(sum(len(piece) for piece in pieces), 1))
    position, given_way = 0, 0
    for piece in pieces:
        for start in range(0, len(piece), _COPIED_AT_ONCE):
            part = piece[start : start + _COPIED_AT_ONCE]
            whole[position : position + len(part)] = part
            position += len(part)
            if position - given_way >= _COPIED_AT_ONCE:
                given_way = position
                give_way()
    return memoryview(whole)[:position]
