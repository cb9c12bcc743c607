"""What is known of a value while a graph is inferred, and how it is told to and by `onnx`."""

from __future__ import annotations

from functools import lru_cache
from math import prod
from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np
import onnx

Array = np.ndarray[Any, Any]
Shape: TypeAlias = tuple[int, ...]

MAX_ELEMENTS: Final = 1 << 48
"""Elements of one value; no machine holds more, so a graph that says so is wrong or hostile."""

FLOAT: Final = int(onnx.TensorProto.FLOAT)
INT32: Final = int(onnx.TensorProto.INT32)
INT64: Final = int(onnx.TensorProto.INT64)
BOOL: Final = int(onnx.TensorProto.BOOL)
STRING: Final = int(onnx.TensorProto.STRING)


class Tensor(NamedTuple):
    """A dense tensor.

    Attributes:
        element_type: Number of `TensorProto.DataType`; 0 when unknown.
        shape: Lengths of the axes; `None` when not all of them are known.
    """

    element_type: int
    shape: Shape | None

    @property
    def elements(self) -> int | None:
        """How many elements; `None` when unknown."""
        return None if self.shape is None else prod(self.shape)


Kind: TypeAlias = Tensor | onnx.TypeProto
"""A tensor, or the type of something else: a sequence, a map, an optional value."""

UNKNOWN: Final = Tensor(0, None)


def from_type(proto: onnx.TypeProto) -> Kind:
    """What `onnx` says of a value; lengths that it does not know make the whole shape unknown."""
    if proto.WhichOneof("value") != "tensor_type":
        return proto if proto.WhichOneof("value") else UNKNOWN
    tensor = proto.tensor_type
    if not tensor.HasField("shape"):
        return Tensor(tensor.elem_type, None)
    dims = tensor.shape.dim
    if any(not dim.HasField("dim_value") or dim.dim_value < 0 for dim in dims):
        return Tensor(tensor.elem_type, None)
    shape = tuple(dim.dim_value for dim in dims)
    return Tensor(tensor.elem_type, shape if prod(shape) <= MAX_ELEMENTS else None)


@lru_cache(maxsize=4096)
def tensor_type(kind: Tensor) -> onnx.TypeProto:
    """A tensor as `onnx` takes it. The answer is shared: do not change it."""
    proto = onnx.TypeProto()
    proto.tensor_type.elem_type = kind.element_type
    if kind.shape is not None:
        proto.tensor_type.shape.SetInParent()
        for length in kind.shape:
            proto.tensor_type.shape.dim.add().dim_value = length
    return proto


def to_type(kind: Kind) -> onnx.TypeProto:
    """Any value as `onnx` takes it."""
    return tensor_type(kind) if isinstance(kind, Tensor) else kind


@lru_cache(maxsize=256)
def type_name(number: int) -> str:
    """The name that onnx.proto gives an element type; empty for an unknown one."""
    if number == 0:
        return ""
    try:
        return str(onnx.TensorProto.DataType.Name(number))
    except ValueError:
        return ""
