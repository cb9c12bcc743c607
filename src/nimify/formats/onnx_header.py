"""Whether a file starts as an ONNX model does. Protobuf has no magic number, so this reads its first fields."""

from __future__ import annotations

from typing import Final

from nimify.formats.limits import MAX_NAME_LENGTH

# ModelProto of onnx.proto: field number to wire type.
_KINDS: Final = {1: 0, 2: 2, 3: 2, 4: 2, 5: 0, 6: 2, 7: 2, 8: 2, 14: 2, 20: 2, 25: 2, 26: 2}
_IR_VERSION: Final = 1
_SHORT_TEXTS: Final = frozenset({2, 3, 4})
_GRAPH: Final = 7
_MAX_IR_VERSION: Final = 255


def looks_like_model(head: bytes) -> bool:
    """Whether the first bytes of a file are fields of an ONNX model, its version and its graph among them.

    The graph counts only from where it starts; a file that is cut off behind that point still looks like a model.
    """
    seen = set()
    position = 0
    while position < len(head):
        tag, position = _varint(head, position)
        number, kind = tag >> 3, tag & 7
        value, position = _varint(head, position)
        if _KINDS.get(number) != kind or (number == _IR_VERSION and not 0 < value <= _MAX_IR_VERSION):
            return False
        if number in _SHORT_TEXTS and value > MAX_NAME_LENGTH:
            return False
        seen.add(number)
        if {_IR_VERSION, _GRAPH} <= seen:
            return True
        position += value if kind == 2 else 0
    return _IR_VERSION in seen and bool(seen - {_IR_VERSION})


def _varint(data: bytes, position: int) -> tuple[int, int]:
    """A number and where it ends; cut off, it is 0 and ends with the data."""
    value = 0
    for index, byte in enumerate(data[position : position + 10]):
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            return value, position + index + 1
    return 0, len(data)
