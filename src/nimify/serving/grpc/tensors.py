"""Tensors in gRPC messages to arrays and back: raw bytes, or typed lists.

Answers are written here rather than by protobuf: what describes the tensors is the same for every answer of its shape
and is made once, and the tensors' bytes are put behind it without being copied into a message first.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import prod
from typing import Final

import numpy as np

from nimify.serving.bulk import give_way
from nimify.serving.engines.engine import Array
from nimify.serving.faults import invalid
from nimify.serving.grpc.codec import Part
from nimify.serving.grpc.protos import inference_pb2 as pb
from nimify.serving.json_tensors import MAX_DIM, MAX_RANK, quoted, shaped
from nimify.serving.open_inference import MAX_TENSORS, check_in_message
from nimify.serving.raw_tensors import array_from_bytes, bytes_from_array, view_of_array
from nimify.tensors import DATATYPES, Datatype

_FIELDS: Final = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}
"""Where the elements of a datatype are; those of FP16 and BF16 travel as raw bytes only."""
_ID_TAG: Final = b"\x1a"
_RAW_TAG: Final = b"\x32"
_RESPONSE_TAG: Final = b"\x12"
_MOST_REMEMBERED: Final = 128
_VIEWED_BYTES: Final = 65_536
"""From here on a copy costs more than a view."""
_AT_ONCE: Final = 8192
"""Elements of a typed list that are read before others have their turn."""


def decoded_inputs(
    request: pb.ModelInferRequest, cut_out: Sequence[memoryview] = ()
) -> tuple[dict[str, Array], dict[str, Datatype]]:
    """The arrays and datatypes of a request, by name.

    Args:
        request: The message.
        cut_out: Its raw tensors, when they are not in it any more.

    Raises:
        RequestFault: The inputs are not well formed, or one does not hold what it says.
    """
    rows = request.inputs
    raw: Sequence[bytes | memoryview] = cut_out or request.raw_input_contents
    if not 0 < len(rows) <= MAX_TENSORS:
        raise invalid(f"'inputs' must be a list of 1 to {MAX_TENSORS} tensors.")
    if raw and len(raw) != len(rows):
        raise invalid(f"There are {len(rows)} inputs, but {len(raw)} 'raw_input_contents'.")
    arrays: dict[str, Array] = {}
    datatypes: dict[str, Datatype] = {}
    for index, row in enumerate(rows):
        name = row.name
        if not name or name in arrays:
            raise invalid(f"{quoted(name)} is given twice." if name else "Each entry of 'inputs' needs a 'name'.")
        datatype = DATATYPES.get(row.datatype)
        if datatype is None:
            raise invalid(f"The datatype of {quoted(name)} must be one of {', '.join(DATATYPES)}.")
        shape = _checked_shape(row.shape, name)
        if row.parameters:
            check_in_message(row.parameters, name)
        if not raw:
            arrays[name] = _from_contents(row.contents, datatype, shape, name)
        elif row.HasField("contents"):
            raise invalid(f"{quoted(name)} has 'contents' beside 'raw_input_contents'.")
        else:
            arrays[name] = array_from_bytes(raw[index], datatype, shape, name)
        datatypes[name] = datatype
    return arrays, datatypes


def _checked_shape(dims: Sequence[int], name: str) -> tuple[int, ...]:
    if len(dims) > MAX_RANK:
        raise invalid(f"The shape of {quoted(name)} must have at most {MAX_RANK} axes.")
    shape = tuple(dims)
    for length in shape:
        if not 0 <= length <= MAX_DIM:
            raise invalid(f"The shape of {quoted(name)} must hold whole numbers from 0 to {MAX_DIM}.")
    return shape


def _from_contents(contents: pb.InferTensorContents, datatype: Datatype, shape: tuple[int, ...], name: str) -> Array:
    field = _FIELDS.get(datatype.name)
    if field is None:
        raise invalid(f"{quoted(name)} is {datatype.name}, which travels in 'raw_input_contents' only.")
    for descriptor, _ in contents.ListFields():
        if descriptor.name != field:
            raise invalid(f"{quoted(name)} is {datatype.name}: its elements belong into '{field}'.")
    elements = getattr(contents, field)
    if len(elements) != prod(shape):
        raise invalid(f"{quoted(name)} has {len(elements)} elements, but its shape {list(shape)} holds {prod(shape)}.")
    array = np.empty(len(elements), dtype=datatype.storage if datatype.itemsize else object)
    try:
        for start in range(0, len(elements), _AT_ONCE):
            if start:
                give_way()
            array[start : start + _AT_ONCE] = elements[start : start + _AT_ONCE]
        return shaped(array, shape, name)
    except OverflowError:
        raise invalid(f"An element of {quoted(name)} is out of range for {datatype.name}.") from None


class ResponseWriter:
    """Writes `ModelInferResponse` messages of one model."""

    def __init__(self, model_name: str, model_version: str) -> None:
        self._model_name = model_name
        self._model_version = model_version
        self._remembered: dict[tuple[tuple[str, str, tuple[int, ...]], ...], bytes] = {}

    def write(self, id: str, tensors: Iterable[tuple[str, Datatype, Array]]) -> list[Part]:
        """The message with these tensors, serialized; in pieces, so that large tensors need not be copied."""
        tensors = tuple(tensors)
        key = tuple([(name, datatype.name, array.shape) for name, datatype, array in tensors])
        described = self._remembered.get(key)
        if described is None:
            described = self._described(key)
        parts: list[Part] = [described]
        if id:
            text = id.encode()
            parts += (_ID_TAG, _varint(len(text)), text)
        for _, datatype, array in tensors:
            raw = view_of_array(array, datatype) if array.nbytes >= _VIEWED_BYTES else bytes_from_array(array, datatype)
            parts += (_RAW_TAG, _varint(len(raw)), raw)
        return parts

    def _described(self, key: tuple[tuple[str, str, tuple[int, ...]], ...]) -> bytes:
        outputs = [pb.ModelInferResponse.InferOutputTensor(name=n, datatype=d, shape=s) for n, d, s in key]
        message = pb.ModelInferResponse(
            model_name=self._model_name, model_version=self._model_version, outputs=outputs
        ).SerializeToString()
        if len(self._remembered) >= _MOST_REMEMBERED:
            self._remembered.clear()
        self._remembered[key] = message
        return message


def in_stream(response: Sequence[Part]) -> list[Part]:
    """A `ModelInferResponse` as the content of a `ModelStreamInferResponse`, both serialized."""
    return [_RESPONSE_TAG + _varint(sum(map(len, response))), *response]


def _varint(number: int) -> bytes:
    if number < 128:
        return bytes((number,))
    encoded = bytearray()
    while number >= 128:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)
