"""An ONNX model without its weights: small enough to parse, however large the file is.

`read_skeleton` walks the file's protobuf structure and copies everything but the payloads of large tensors,
documentation and training graphs. What is left is parsed by the real reader, `onnx.ModelProto`. In place of a payload
it leaves its length, in the field `segment` that no exporter writes and no engine accepts; see `payload_bytes`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import onnx
from google.protobuf.message import DecodeError

from nimify.errors import ModelError, UnsafeModel, UnsupportedModel
from nimify.formats.limits import (
    MAX_FIELDS,
    MAX_PROTOBUF_BYTES,
    MAX_SKELETON_BYTES,
    MAX_SUBGRAPH_DEPTH,
)
from nimify.formats.wire import LENGTH, VARINT, Field, WireError, WireReader, encode_message, encode_varint

SMALL_BYTES: Final = 4096
"""Messages up to this length are copied whole; no payload inside is worth leaving out."""

MAX_LIST_BYTES: Final = 16 << 20
"""One list in an attribute, where long ones are asked for."""


@dataclass(frozen=True, slots=True)
class _Message:
    """What the walk must know of a message type of onnx.proto.

    Attributes:
        children: Field number to the type of message in it.
        payload: Fields that hold weights.
        dropped: Fields that nothing here needs: documentation and training.
    """

    children: Mapping[int, str]
    payload: frozenset[int] = frozenset()
    dropped: frozenset[int] = frozenset()


# Field numbers: onnx.proto. Field 1 of a sparse tensor holds its values, 2 its indices.
_MESSAGES: Final = {
    "model": _Message({7: "graph", 25: "function"}, dropped=frozenset({6, 20})),
    "graph": _Message({1: "node", 5: "tensor", 15: "sparse"}, dropped=frozenset({10})),
    "function": _Message({7: "node", 11: "attribute"}, dropped=frozenset({8})),
    "node": _Message({5: "attribute"}, dropped=frozenset({6})),
    "attribute": _Message(
        {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
        payload=frozenset({4, 7, 8, 9}),
        dropped=frozenset({13}),
    ),
    "sparse": _Message({1: "tensor", 2: "tensor"}),
    "tensor": _Message({}, payload=frozenset({4, 5, 6, 7, 9, 10, 11}), dropped=frozenset({12})),
}
_ATTRIBUTE_TEXT: Final = 4
_SEGMENT: Final = 3
_SEGMENT_END: Final = 2
_RAW_DATA: Final = 9
_RAW_DATA_TRACE: Final = encode_message(_RAW_DATA, b"")
"""Left in place of raw data, so that `HasField("raw_data")` still tells how the tensor was stored."""


@dataclass(frozen=True, slots=True)
class Skeleton:
    """What is left of a model file without its weights.

    Attributes:
        model: The model; tensors whose payload was left out say so, see `payload_bytes`.
        left_out: How many these are.
    """

    model: onnx.ModelProto
    left_out: int


def read_skeleton(reader: WireReader, source: str, *, keep_lists: bool = False) -> Skeleton:
    """Everything but the weights of the model in an open file.

    Args:
        reader: The file.
        source: Its name, for messages.
        keep_lists: Whether to keep attributes that are long lists, as decision trees have them.

    Raises:
        ModelError: The file is damaged.
        UnsupportedModel: It is larger than what protobuf holds.
        UnsafeModel: It breaks a limit.
    """
    if reader.size > MAX_PROTOBUF_BYTES:
        raise UnsupportedModel(
            source,
            f"it has {reader.size} bytes, and one ONNX file holds at most {MAX_PROTOBUF_BYTES}.",
            remedy="Save it with external data: onnx.save(model, path, save_as_external_data=True).",
        )
    walk = _Walk(reader, source, keep_lists=keep_lists)
    try:
        model = onnx.ModelProto.FromString(walk.message("model", 0, reader.size, depth=0))
    except WireError as error:
        raise ModelError(
            source,
            f"it is damaged: {error.problem} at byte {error.offset} of {reader.size}.",
            remedy="Copy or export it again.",
        ) from None
    except DecodeError:
        raise ModelError(
            source,
            f"it is damaged, or nests more than {MAX_SUBGRAPH_DEPTH} subgraphs: its graph cannot be decoded.",
            remedy="Copy or export it again.",
        ) from None
    return Skeleton(model, walk.left_out)


def payload_bytes(tensor: onnx.TensorProto) -> int:
    """Bytes of weights that were left out of a tensor of the skeleton; 0 when it is complete."""
    return tensor.segment.end if tensor.HasField("segment") else 0


class _Walk:
    """One walk over a file; counts what it has seen against the limits.

    Attributes:
        left_out: How many tensors lost their payload.
    """

    def __init__(self, reader: WireReader, source: str, *, keep_lists: bool) -> None:
        self.left_out = 0
        self._list_bytes = MAX_LIST_BYTES if keep_lists else SMALL_BYTES
        self._reader = reader
        self._source = source
        self._fields = 0
        self._kept_bytes = 0

    def message(self, kind: str, start: int, end: int, *, depth: int) -> bytes:
        """The message between two offsets, without payloads."""
        if depth > MAX_SUBGRAPH_DEPTH:
            raise UnsafeModel(self._source, f"it nests more than {MAX_SUBGRAPH_DEPTH} subgraphs.")
        message = _MESSAGES[kind]
        kept: list[bytes] = []
        payload = 0
        position = start
        while position < end:
            field = self._next(position, end)
            position = field.end
            if field.number in message.payload:
                position = self._reader.run_end(field, end)
                if kind == "tensor" or position - field.start > self._limit(field):
                    payload += position - field.value
                    kept.append(_RAW_DATA_TRACE if (kind, field.number) == ("tensor", _RAW_DATA) else b"")
                else:
                    kept.append(self._copy(field.start, position))
            elif field.number not in message.dropped:
                kept.append(self._kept(message, field, depth))
        if kind == "tensor" and payload:
            self.left_out += 1
            kept.append(_segment(payload))
        return b"".join(kept)

    def _limit(self, field: Field) -> int:
        """Bytes up to which an attribute is kept; one text is never as telling as a list."""
        return SMALL_BYTES if field.number == _ATTRIBUTE_TEXT else self._list_bytes

    def _kept(self, message: _Message, field: Field, depth: int) -> bytes:
        child = message.children.get(field.number)
        if message is _MESSAGES["tensor"] and field.number == _SEGMENT:
            raise UnsupportedModel(self._source, "it stores a tensor in segments, which no engine reads.")
        if child is None or field.kind != LENGTH or field.end - field.value <= SMALL_BYTES:
            return self._copy(field.start, field.end)
        inner = self.message(child, field.value, field.end, depth=depth + (child == "graph"))
        return encode_message(field.number, inner)

    def _next(self, position: int, end: int) -> Field:
        self._fields += 1
        if self._fields > MAX_FIELDS:
            raise UnsafeModel(self._source, f"its graph has more than {MAX_FIELDS} parts.")
        return self._reader.field(position, end)

    def _copy(self, start: int, end: int) -> bytes:
        self._kept_bytes += end - start
        if self._kept_bytes > MAX_SKELETON_BYTES:
            raise UnsafeModel(self._source, f"its graph without weights exceeds {MAX_SKELETON_BYTES} bytes.")
        return self._reader.content(start, end)


def _segment(payload: int) -> bytes:
    return encode_message(_SEGMENT, encode_varint(_SEGMENT_END << 3 | VARINT) + encode_varint(payload))
