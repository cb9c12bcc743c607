"""Arithmetic on every datatype: numbers out of a tensor's storage, and back into it.

BF16 is carried as its raw bits, and FP16 is too narrow to compute in; both are widened first and rounded last.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from nimify.serving.processors.processor import Array
from nimify.tensors import Datatype, bf16_to_fp32, fp32_to_bf16

_NARROW_INTEGERS = frozenset({"UINT8", "INT8", "UINT16", "INT16"})


def working_dtype(*datatypes: Datatype) -> np.dtype[Any]:
    """float32 where that holds every value of the datatypes exactly, otherwise float64."""
    exact = all(item.name in _NARROW_INTEGERS or item.name in {"FP16", "BF16", "FP32"} for item in datatypes)
    return np.dtype("<f4" if exact else "<f8")


def to_numbers(array: Array, datatype: Datatype, dtype: np.dtype[Any]) -> Array:
    """The elements as floating-point numbers of `dtype`."""
    values = np.asarray(bf16_to_fp32(array)) if datatype.name == "BF16" else array
    return values.astype(dtype, copy=False)


def to_storage(values: Array, datatype: Datatype) -> Array:
    """Floating-point numbers as elements of a datatype.

    Floating-point results are rounded to nearest and overflow to infinity; whole ones are rounded to nearest, ties to
    even, and stop at the ends of their range. NaN has no place among whole numbers: the caller refuses it before.
    """
    if datatype.name == "BF16":
        return np.asarray(fp32_to_bf16(values.astype("<f4", copy=False)))
    if datatype.is_float:
        with np.errstate(over="ignore", under="ignore"):
            return values.astype(datatype.storage, copy=False)
    lowest, highest = _float_range(datatype, values.dtype)
    return np.clip(np.rint(values), lowest, highest).astype(datatype.storage)


def _float_range(datatype: Datatype, dtype: np.dtype[Any]) -> tuple[Any, Any]:
    """The ends of an integer range, as floats that convert back without leaving it."""
    info = np.iinfo(datatype.storage)
    highest = dtype.type(info.max)
    if int(highest) > info.max:
        highest = np.nextafter(highest, dtype.type(0))
    return dtype.type(info.min), highest
