"""The stored tensors of an ONNX model: how many, how large, and whether each holds what it declares."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from math import prod
from typing import Final

import onnx

from nimify.errors import ModelError, UnsafeModel, UnsupportedModel, shortened
from nimify.formats.format import Weights
from nimify.formats.limits import MAX_RANK
from nimify.formats.onnx_signature import type_name
from nimify.formats.onnx_skeleton import Skeleton, payload_bytes

# Bits per element: onnx.proto, TensorProto.DataType. Strings (8) differ in length.
_BITS: Final = {
    1: 32, 2: 8, 3: 8, 4: 16, 5: 16, 6: 32, 7: 64, 9: 8, 10: 16, 11: 64, 12: 32, 13: 64, 14: 64, 15: 128, 16: 16,
    17: 8, 18: 8, 19: 8, 20: 8, 21: 4, 22: 4, 23: 4, 24: 8, 25: 2, 26: 2, 27: 6, 28: 6,
}  # fmt: skip
_STRING: Final = 8
_MAX_ELEMENTS_PER_NUMBER: Final = 16
"""Elements that one number of `int32_data` may hold: 2-bit types are packed."""
_NUMBER_FIELDS: Final = ("float_data", "int32_data", "string_data", "int64_data", "double_data", "uint64_data")


@dataclass(frozen=True, slots=True)
class ExternalTensor:
    """A tensor whose data lies in another file.

    Attributes:
        name: As in the model file.
        entries: Key and value pairs that say where, as the file has them.
        size_bytes: Bytes that its type and dimensions ask for.
    """

    name: str
    entries: tuple[tuple[str, str], ...]
    size_bytes: int


def read_weights(
    skeleton: Skeleton, tensors: list[onnx.TensorProto], source: str
) -> tuple[Weights, tuple[ExternalTensor, ...]]:
    """Measure every stored tensor.

    Args:
        skeleton: Where they come from.
        tensors: All stored tensors of the skeleton.
        source: The file's name, for messages.

    Raises:
        ModelError: A tensor does not hold as much data as it declares.
        UnsupportedModel: A tensor is stored in a way that engines do not read.
        UnsafeModel: It breaks a limit.
    """
    if sum(tensor.HasField("segment") for tensor in tensors) != skeleton.left_out:
        raise UnsupportedModel(source, "it stores a tensor in segments, which no engine reads.")
    bytes_by_type: Counter[str] = Counter()
    external = []
    for tensor in tensors:
        size = _checked_size(tensor, source)
        bytes_by_type[type_name(tensor.data_type)] += size
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            external.append(_external(tensor, size, source))
    weights = Weights(
        count=len(tensors),
        parameters=sum(prod(tensor.dims) for tensor in tensors),
        bytes_by_type=dict(sorted(bytes_by_type.items())),
    )
    return weights, tuple(external)


def _checked_size(tensor: onnx.TensorProto, source: str) -> int:
    """Bytes of a tensor, after checking that it holds what it declares."""
    what = f"tensor '{shortened(tensor.name)}'"
    if len(tensor.dims) > MAX_RANK:
        raise UnsafeModel(source, f"{what} has {len(tensor.dims)} axes, and the limit is {MAX_RANK}.")
    if any(dim < 0 for dim in tensor.dims):
        raise ModelError(source, f"it is damaged: {what} has a negative dimension.")
    elements = prod(tensor.dims)
    if tensor.data_type == _STRING:
        return _string_bytes(tensor, elements, what, source)
    if tensor.data_type not in _BITS:
        raise UnsupportedModel(source, f"{what} has elements of an unknown type ({type_name(tensor.data_type)}).")
    size = (elements * _BITS[tensor.data_type] + 7) // 8
    if tensor.data_location != onnx.TensorProto.EXTERNAL and not _holds(tensor, elements, size):
        raise ModelError(
            source,
            f"it is damaged: {what} declares {elements} elements of {type_name(tensor.data_type)} "
            "and does not hold as much data.",
            remedy="Copy or export it again.",
        )
    return size


def _holds(tensor: onnx.TensorProto, elements: int, size: int) -> bool:
    payload = payload_bytes(tensor)
    if tensor.HasField("raw_data"):
        return size == (payload or len(tensor.raw_data))
    # Whoever leaves out a payload of numbers knows its bytes, not how many numbers they make: each takes one or more.
    numbers = payload or sum(len(getattr(tensor, field)) for field in _NUMBER_FIELDS)
    return elements <= numbers * _MAX_ELEMENTS_PER_NUMBER


def _string_bytes(tensor: onnx.TensorProto, elements: int, what: str, source: str) -> int:
    if tensor.data_location == onnx.TensorProto.EXTERNAL:
        raise UnsupportedModel(source, f"{what} keeps text in external data, which no engine reads.")
    payload = payload_bytes(tensor)
    if elements != len(tensor.string_data) if not payload else elements > payload:
        raise ModelError(source, f"it is damaged: {what} declares {elements} texts and does not hold as many.")
    return payload or sum(len(text) for text in tensor.string_data)


def _external(tensor: onnx.TensorProto, size: int, source: str) -> ExternalTensor:
    entries = tuple((entry.key, entry.value) for entry in tensor.external_data)
    if len({key for key, _ in entries}) != len(entries):
        raise UnsafeModel(source, f"tensor '{shortened(tensor.name)}' says twice where its external data lies.")
    return ExternalTensor(tensor.name, entries, size)
