"""A tensor as JSON Schema: lists nested as deep as it has axes, and at the bottom what one element may be.

The schema takes exactly what the service takes, as far as JSON Schema can say it. It cannot say that a free axis has
the same length everywhere, nor that two inputs have the same number of rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from nimify.errors import one_line
from nimify.tensors import Dim, TensorSpec

# From these numbers on, rounding to the datatype gives infinity, which the service refuses. Half a step of float32 less
# for BF16, whose elements are rounded to float32 first.
_FLOAT_BOUNDS: Final[Mapping[str, float]] = {
    "FP16": 65520.0,
    "BF16": 2.0**128 - 2.0**119 - 2.0**103,
    "FP32": 2.0**128 - 2.0**103,
}
_FP64_MAX: Final = 1.7976931348623157e308


def input_schema(spec: TensorSpec, max_batch_size: int) -> dict[str, Any]:
    """What a client may send for an input.

    Args:
        spec: The input, as `/v1/infer` speaks it.
        max_batch_size: Most rows of a request; 0 when the first axis is like any other.
    """
    return {"description": described(spec), **_nested(spec.shape, _input_element(spec), max_batch_size)}


def output_schema(spec: TensorSpec, max_batch_size: int) -> dict[str, Any]:
    """What a client gets for an output; arguments as for `input_schema`."""
    return {"description": described(spec), **_nested(spec.shape, _output_element(spec), max_batch_size, given=True)}


def described(spec: TensorSpec) -> str:
    """A tensor in one line, e.g. `FP32[batch, 64]`."""
    axes = ", ".join("?" if dim is None else one_line(str(dim)) for dim in spec.shape)
    return f"{spec.datatype.name}[{axes}]" if spec.shape else f"{spec.datatype.name} (a single value)"


def _nested(
    shape: tuple[Dim, ...], element: dict[str, Any], max_batch_size: int, *, given: bool = False
) -> dict[str, Any]:
    schema = element
    for axis in reversed(range(len(shape))):
        if axis == 0 and max_batch_size:
            bounds = {"minItems": 1, "maxItems": max_batch_size}
        else:
            bounds = _bounds(shape, axis, given=given)
        schema = {"type": "array", **bounds, "items": schema}
    return schema


def _bounds(shape: tuple[Dim, ...], axis: int, *, given: bool) -> dict[str, int]:
    dim = shape[axis]
    if isinstance(dim, int):
        return {"minItems": dim, "maxItems": dim}
    # An empty list hides the axes below it, so none of them may have a fixed length that it would have to show.
    hides = not given and any(isinstance(below, int) and below > 0 for below in shape[axis + 1 :])
    return {"minItems": 1} if hides else {}


def _input_element(spec: TensorSpec) -> dict[str, Any]:
    datatype = spec.datatype
    if datatype.name == "BOOL":
        return {"type": "boolean"}
    if datatype.name == "BYTES":
        return {"type": "string"}
    if datatype.is_integer:
        return {"type": "integer", **_integer_range(datatype.name)}
    if datatype.name == "FP64":
        return {"type": "number", "minimum": -_FP64_MAX, "maximum": _FP64_MAX}
    bound = _FLOAT_BOUNDS[datatype.name]
    return {"type": "number", "exclusiveMinimum": -bound, "exclusiveMaximum": bound}


def _output_element(spec: TensorSpec) -> dict[str, Any]:
    if spec.datatype.is_float:
        # JSON has no NaN and no infinities; they arrive as null.
        return {"type": ["number", "null"]}
    return _input_element(spec)


def _integer_range(name: str) -> dict[str, int]:
    bits = int(name.removeprefix("U").removeprefix("INT"))
    if name.startswith("U"):
        return {"minimum": 0, "maximum": 2**bits - 1}
    return {"minimum": -(2 ** (bits - 1)), "maximum": 2 ** (bits - 1) - 1}
