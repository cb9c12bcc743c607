"""Large `ModelInferRequest`s: their raw tensors stay where they arrived, and protobuf reads the rest.

Protobuf copies every tensor and keeps Python's lock until it has read the whole message, on whatever thread it runs.
Cut out here, a tensor is a view; what is left is short, unless the tensors came in typed lists.
"""

from __future__ import annotations

from typing import Final

from nimify.serving.faults import RequestFault, invalid
from nimify.serving.grpc.codec import Content
from nimify.serving.grpc.protos import inference_pb2 as pb
from nimify.serving.open_inference import MAX_TENSORS

_RAW_FIELD: Final = pb.ModelInferRequest.RAW_INPUT_CONTENTS_FIELD_NUMBER
_MOST_FIELDS: Final = 4 * MAX_TENSORS
"""Inputs, outputs, parameters and raw tensors. Each costs far more memory than the two bytes that may stand for it."""
_VARINT, _EIGHT_BYTES, _BYTES, _FOUR_BYTES = 0, 1, 2, 5
_LONGEST_VARINT: Final = 10


def split(content: Content) -> tuple[bytes, list[memoryview]]:
    """The message without its raw tensors, and these as views of it.

    Raises:
        RequestFault: It is no protobuf message, or has too many fields.
    """
    view, position = memoryview(content).toreadonly(), 0
    rest: list[memoryview] = []
    raw: list[memoryview] = []
    while position < len(view):
        tag, start = _varint(view, position)
        begin, end = _span(view, start, tag & 7)
        if tag >> 3 == _RAW_FIELD and tag & 7 == _BYTES:
            raw.append(view[begin:end])
        else:
            rest.append(view[position:end])
        position = end
        if len(rest) + len(raw) > _MOST_FIELDS:
            raise invalid(f"A large message must have at most {_MOST_FIELDS} fields.")
    return b"".join(rest), raw


def _span(view: memoryview, position: int, wire_type: int) -> tuple[int, int]:
    """Where the content of a field begins and ends."""
    if wire_type == _VARINT:
        return position, _varint(view, position)[1]
    if wire_type == _BYTES:
        length, position = _varint(view, position)
    elif wire_type in {_EIGHT_BYTES, _FOUR_BYTES}:
        length = 8 if wire_type == _EIGHT_BYTES else 4
    else:
        raise _broken()
    if position + length > len(view):
        raise _broken()
    return position, position + length


def _varint(view: memoryview, position: int) -> tuple[int, int]:
    number = 0
    for shift, byte in enumerate(view[position : position + _LONGEST_VARINT]):
        number |= (byte & 0x7F) << (7 * shift)
        if byte < 0x80:
            return number, position + shift + 1
    raise _broken()


def _broken() -> RequestFault:
    return invalid("The message is not a valid protobuf message of its type.")
