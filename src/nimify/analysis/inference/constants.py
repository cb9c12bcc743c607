"""Content that is known before a run: stored constants, and what follows from them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import prod
from typing import Any, Final

import numpy as np
import onnx

from nimify.analysis.inference.call import Call, NotInferable
from nimify.analysis.inference.folding import OUTPUTS, can_fold, fold
from nimify.analysis.inference.kinds import FLOAT, INT64, STRING, Array, Kind, Tensor
from nimify.analysis.inference.scope import MAX_FOLDED, decoded, is_readable
from nimify.formats.onnx_graph import STANDARD_DOMAIN

_MAX_LISTED: Final = 256
_MAX_LISTED_FLOATS: Final = 8


def constant(call: Call) -> tuple[Kind, Array | None]:
    """What a `Constant` holds, and its content when that is small.

    Raises:
        NotInferable: It holds nothing.
    """
    attributes = call.attributes
    tensor = attributes.get("value")
    if isinstance(tensor, onnx.TensorProto):
        return Tensor(tensor.data_type, tuple(tensor.dims)), decoded(tensor) if is_readable(tensor) else None
    sparse = attributes.get("sparse_value")
    if isinstance(sparse, onnx.SparseTensorProto):
        return Tensor(sparse.values.data_type, tuple(sparse.dims)), None
    for name, dtype, element_type in (("value_int", np.int64, INT64), ("value_float", np.float32, FLOAT)):
        for key in (name, f"{name}s"):
            if key in attributes:
                array = np.asarray(attributes[key], dtype=dtype)
                return Tensor(element_type, array.shape), array
    if "value_string" in attributes:
        return Tensor(STRING, ()), None
    if "value_strings" in attributes:
        return Tensor(STRING, (len(attributes["value_strings"]),)), None
    raise NotInferable("it holds no value")


def folded(call: Call, kinds: Sequence[Kind]) -> Sequence[Array | None]:
    """The content of a node's outputs, where it follows from constants and is small; else nothing."""
    if call.domain != STANDARD_DOMAIN or not can_fold(call.operator) or not call.inputs or call.inputs[0] is None:
        return ()
    if not all(
        isinstance(kind, Tensor) and kind.shape is not None and prod(kind.shape) <= MAX_FOLDED for kind in kinds
    ):
        return ()
    if call.operator in ("Shape", "Size"):
        return fold(call.operator, call.attributes, call.inputs, ())
    arrays = []
    for position, kind in enumerate(call.inputs):
        array = call.array(position)
        if kind is not None and (array is None or array.dtype.kind not in "biuf"):
            return ()
        arrays.append(array)
    return fold(call.operator, {**call.attributes, OUTPUTS: call.outputs}, call.inputs, arrays)


def small_constants(call: Call) -> Iterator[tuple[int, Any]]:
    """Inputs whose content is known and worth telling, by position: shapes, axes, repeats, a few scales."""
    for position, kind in enumerate(call.inputs):
        if not isinstance(kind, Tensor) or kind.shape is None or prod(kind.shape) > _MAX_LISTED:
            continue
        array = call.array(position)
        if array is None:
            continue
        limit = _MAX_LISTED_FLOATS if array.dtype.kind == "f" else _MAX_LISTED if array.dtype.kind in "biu" else -1
        if array.size <= limit:
            yield position, array.tolist()
