"""Computes small constants that exporters leave in a graph: shapes taken apart and put together again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Any, Final

import numpy as np
import onnx

from nimify.analysis.inference.kinds import Array, Kind, Tensor
from nimify.analysis.inference.scope import MAX_FOLDED

Attributes = Mapping[str, Any]

OUTPUTS: Final = "nimify.outputs"
"""How many outputs a node names: an attribute that `Split` is given here."""
Arrays = Sequence[Array | None]
Folder = Callable[[Any, Attributes], Any]


def fold(
    operator: str, attributes: Attributes, inputs: Sequence[Kind | None], arrays: Arrays
) -> Sequence[Array | None]:
    """The outputs of a node whose inputs are known, or nothing when it cannot be computed here.

    Whoever calls has made sure that the outputs are small; content is never more than a hint, so a node that numpy
    refuses is left alone.
    """
    if operator in ("Shape", "Size"):
        return _of_shape(operator, attributes, inputs[0])
    folder = _FOLDERS.get(operator)
    if folder is None or any(array is None and kind is not None for array, kind in zip(arrays, inputs, strict=True)):
        return ()
    try:
        with np.errstate(all="ignore"):
            result = folder(arrays, attributes)
    except (ValueError, TypeError, IndexError, OverflowError, KeyError, AttributeError, MemoryError, ZeroDivisionError):
        return ()
    outputs = result if isinstance(result, list) else [result]
    return tuple(np.asarray(output) for output in outputs)


def can_fold(operator: str) -> bool:
    """Whether `fold` knows the operator."""
    return operator in _FOLDERS or operator in ("Shape", "Size")


def _of_shape(operator: str, attributes: Attributes, kind: Kind | None) -> Sequence[Array | None]:
    if not isinstance(kind, Tensor) or kind.shape is None:
        return ()
    if operator == "Size":
        return (np.asarray(prod(kind.shape), dtype=np.int64),)
    start, end = attributes.get("start", 0), attributes.get("end", len(kind.shape))
    return (np.asarray(kind.shape[start:end], dtype=np.int64),)


def _two(function: Callable[[Array, Array], Any]) -> Folder:
    return lambda arrays, _: function(arrays[0], arrays[1])


def _one(function: Callable[[Array], Any]) -> Folder:
    return lambda arrays, _: function(arrays[0])


def _same_type(function: Callable[[Array], Any]) -> Folder:
    return lambda arrays, _: np.asarray(function(arrays[0])).astype(arrays[0].dtype)


def _many(function: Callable[[Array, Array], Any]) -> Folder:
    def folder(arrays: Arrays, _: Attributes) -> Any:
        result = arrays[0]
        for array in arrays[1:]:
            result = function(result, array)  # type: ignore[arg-type]  # fold() gives no None for present inputs
        return result

    return folder


def _div(one: Array, other: Array) -> Array:
    if one.dtype.kind not in "iu":
        return np.asarray(one / other)
    # ONNX divides integers towards zero.
    quotient: Array = np.sign(one) * np.sign(other) * (np.abs(one) // np.abs(other))
    return quotient.astype(one.dtype)


def _mod(arrays: Any, attributes: Attributes) -> Any:
    return np.fmod(arrays[0], arrays[1]) if attributes.get("fmod", 0) else np.mod(arrays[0], arrays[1])


def _cast(arrays: Any, attributes: Attributes) -> Any:
    return arrays[0].astype(onnx.helper.tensor_dtype_to_np_dtype(attributes["to"]))


def _gather(arrays: Any, attributes: Attributes) -> Any:
    return np.take(arrays[0], arrays[1], axis=attributes.get("axis", 0))


def _concat(arrays: Any, attributes: Attributes) -> Any:
    return np.concatenate(arrays, axis=attributes["axis"])


def _axes(arrays: Any, attributes: Attributes, position: int = 1) -> tuple[int, ...] | None:
    """Axes, which newer operator sets take as an input and older ones as an attribute."""
    if len(arrays) > position and arrays[position] is not None:
        return tuple(int(axis) for axis in arrays[position].ravel())
    axes = attributes.get("axes")
    return None if axes is None else tuple(axes)


def _squeeze(arrays: Any, attributes: Attributes) -> Any:
    return np.squeeze(arrays[0], axis=_axes(arrays, attributes))


def _unsqueeze(arrays: Any, attributes: Attributes) -> Any:
    return np.expand_dims(arrays[0], _axes(arrays, attributes) or ())


def _reduce(function: Callable[..., Any]) -> Folder:
    def folder(arrays: Any, attributes: Attributes) -> Any:
        axes = _axes(arrays, attributes) or None
        if axes is None and attributes.get("noop_with_empty_axes", 0):
            return arrays[0]
        reduced = function(arrays[0], axis=axes, keepdims=bool(attributes.get("keepdims", 1)))
        return np.asarray(reduced).astype(arrays[0].dtype)

    return folder


def _slice(arrays: Any, attributes: Attributes) -> Any:
    data = arrays[0]
    if len(arrays) > 1:
        starts, ends = arrays[1].ravel(), arrays[2].ravel()
        axes = _axes(arrays, {}, 3)
        steps = arrays[4].ravel() if len(arrays) > 4 and arrays[4] is not None else np.ones(len(starts), np.int64)
    else:
        starts, ends = attributes["starts"], attributes["ends"]
        axes = tuple(attributes["axes"]) if "axes" in attributes else None
        steps = [1] * len(starts)
    index = [slice(None)] * data.ndim
    for axis, start, end, step in zip(axes or range(len(starts)), starts, ends, steps, strict=True):
        # A start before the first element counts as the first one; a plain Python slice would count from the end.
        low = int(start) if start >= -data.shape[axis] else 0
        high: int | None = int(end)
        if step < 0 and end < -data.shape[axis]:
            high = None
        index[axis] = slice(low, high, int(step))
    return data[tuple(index)]


def _range(arrays: Any, _: Attributes) -> Any:
    start, limit, delta = (array.item() for array in arrays)
    if delta == 0 or (limit - start) / delta > MAX_FOLDED:
        raise ValueError
    return np.arange(start, limit, delta, dtype=arrays[0].dtype)


def _constant_of_shape(arrays: Any, attributes: Attributes) -> Any:
    value = attributes.get("value")
    fill = np.zeros(1, np.float32) if value is None else onnx.numpy_helper.to_array(value)
    return np.full(_small(arrays[0]), fill.ravel()[0], dtype=fill.dtype)


def _small(shape: Any) -> tuple[int, ...]:
    lengths = tuple(int(length) for length in np.ravel(shape))
    if prod(lengths) > MAX_FOLDED:
        raise ValueError
    return lengths


def _reshape(arrays: Any, attributes: Attributes) -> Any:
    wanted = [int(length) for length in arrays[1].ravel()]
    if not attributes.get("allowzero", 0):
        wanted = [arrays[0].shape[axis] if length == 0 else length for axis, length in enumerate(wanted)]
    return arrays[0].reshape(wanted)


def _expand(arrays: Any, _: Attributes) -> Any:
    shape = np.broadcast_shapes(arrays[0].shape, _small(arrays[1]))
    _small(shape)
    return np.broadcast_to(arrays[0], shape)


def _tile(arrays: Any, _: Attributes) -> Any:
    _small(np.multiply(arrays[0].shape, arrays[1].ravel()))
    return np.tile(arrays[0], arrays[1].ravel())


def _split(arrays: Any, attributes: Attributes) -> Any:
    axis = attributes.get("axis", 0)
    sizes = _axes(arrays, {}) or attributes.get("split")
    if sizes is None:
        length, parts = arrays[0].shape[axis], attributes[OUTPUTS]
        part = -(-length // parts)
        sizes = [part] * (parts - 1) + [length - part * (parts - 1)]
    return np.split(arrays[0], np.cumsum(sizes)[:-1], axis=axis)


def _transpose(arrays: Any, attributes: Attributes) -> Any:
    return np.transpose(arrays[0], attributes.get("perm"))


def _nonzero(arrays: Any, _: Attributes) -> Any:
    return np.asarray(np.nonzero(np.atleast_1d(arrays[0])), dtype=np.int64)


def _scatter_nd(arrays: Any, attributes: Attributes) -> Any:
    if attributes.get("reduction", "none") not in ("none", b"none"):
        raise ValueError
    result = arrays[0].copy()
    indices = arrays[1]
    for position in np.ndindex(indices.shape[:-1]):
        result[tuple(indices[position])] = arrays[2][position]
    return result


def _cum_sum(arrays: Any, attributes: Attributes) -> Any:
    if attributes.get("exclusive", 0) or attributes.get("reverse", 0):
        raise ValueError
    return np.cumsum(arrays[0], axis=int(arrays[1].item())).astype(arrays[0].dtype)


_FOLDERS: Final[Mapping[str, Folder]] = {
    "Abs": _same_type(np.abs),
    "Add": _two(np.add),
    "And": _two(np.logical_and),
    "Cast": _cast,
    "Ceil": _same_type(np.ceil),
    "Concat": _concat,
    "ConstantOfShape": _constant_of_shape,
    "CumSum": _cum_sum,
    "Div": _two(_div),
    "Equal": _two(np.equal),
    "Expand": _expand,
    "Floor": _same_type(np.floor),
    "Gather": _gather,
    "Greater": _two(np.greater),
    "GreaterOrEqual": _two(np.greater_equal),
    "Identity": _one(np.asarray),
    "Less": _two(np.less),
    "LessOrEqual": _two(np.less_equal),
    "Max": _many(np.maximum),
    "Min": _many(np.minimum),
    "Mod": _mod,
    "Mul": _two(np.multiply),
    "Neg": _one(np.negative),
    "NonZero": _nonzero,
    "Not": _one(np.logical_not),
    "Or": _two(np.logical_or),
    "Pow": lambda arrays, _: np.power(arrays[0], arrays[1]).astype(arrays[0].dtype),
    "Range": _range,
    "ReduceMax": _reduce(np.max),
    "ReduceMin": _reduce(np.min),
    "ReduceProd": _reduce(np.prod),
    "ReduceSum": _reduce(np.sum),
    "Relu": _one(lambda array: np.maximum(array, 0)),
    "Reshape": _reshape,
    "Round": _same_type(np.round),
    "ScatterND": _scatter_nd,
    "Slice": _slice,
    "Split": _split,
    "Sqrt": _same_type(np.sqrt),
    "Squeeze": _squeeze,
    "Sub": _two(np.subtract),
    "Tile": _tile,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
    "Where": lambda arrays, _: np.where(arrays[0], arrays[1], arrays[2]),
    "Xor": _two(np.logical_xor),
}
