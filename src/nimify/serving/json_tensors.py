"""Tensors as JSON: nested or flat lists to arrays and back, strictly.

JSON numbers reach an array only when the datatype can hold them: no fraction becomes an integer, no boolean a
number, no large number wraps around or becomes infinite. Checks run over whole lists in C (`set(map(type, ...))`),
because a Python loop over the elements of an image would cost more than the model.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from itertools import chain
from math import prod
from typing import Any, Final

import numpy as np

from nimify.errors import one_line, shortened
from nimify.serving.engines.engine import Array
from nimify.serving.faults import RequestFault, invalid
from nimify.tensors import DATATYPES, Datatype, bf16_to_fp32, fp32_to_bf16

MAX_DIM: Final = 2**31 - 1
"""Longest axis that a request may name; a body can never fill a longer one."""
MAX_RANK: Final = 64
"""numpy's own limit."""

_NUMBERS: Final = frozenset({int, float})
_INTEGERS: Final = frozenset({int})
_BOOLEANS: Final = frozenset({bool})
_STRINGS: Final = frozenset({str})


def _json_types(datatype: Datatype) -> frozenset[type]:
    if datatype.is_float:
        return _NUMBERS
    if datatype.is_integer:
        return _INTEGERS
    return _BOOLEANS if datatype.name == "BOOL" else _STRINGS


# By datatype name: which Python types its JSON elements may have.
_ACCEPTED: Final = {name: _json_types(datatype) for name, datatype in DATATYPES.items()}
_STRUCT_CODES: Final = {"FP32": "f", "FP64": "d"}
_JSON_NAMES: Final = {"BOOL": "booleans (true, false)", "BYTES": "strings"}


def quoted(name: object) -> str:
    """A client's or a model's name for something, safe to repeat in a message."""
    return f"'{shortened(one_line(str(name)), 64)}'"


def whole_number(value: Any) -> Any:
    """A number without a fraction as an `int`, however it is spelled: to JSON, and to its schemas, 1.0 is 1.

    Anything else is given back as it is. Beyond 2^53 a float no longer says which number is meant.
    """
    return int(value) if type(value) is float and value.is_integer() and abs(value) <= 2**53 else value


def checked_shape(shape: Any, name: str) -> tuple[int, ...]:
    """A request's `shape` as a tuple of lengths.

    Raises:
        RequestFault: It is not a list of whole numbers from 0 to `MAX_DIM`.
    """
    if type(shape) is not list or len(shape) > MAX_RANK:
        raise invalid(f"The shape of {quoted(name)} must be a list of at most {MAX_RANK} whole numbers.")
    lengths = tuple([dim if type(dim) is int else whole_number(dim) for dim in shape])
    for length in lengths:
        if type(length) is not int or not 0 <= length <= MAX_DIM:
            raise invalid(f"The shape of {quoted(name)} must hold whole numbers from 0 to {MAX_DIM}.")
    return lengths


def array_from_list(data: Any, datatype: Datatype, shape: tuple[int, ...], name: str) -> Array:
    """The elements of a flat or nested list in a known shape.

    Args:
        data: A flat list in row-major order, or lists nested as the shape says.
        datatype: What the elements must be.
        shape: The lengths of the axes.
        name: The tensor's name, for messages.

    Raises:
        RequestFault: The elements do not fit the datatype, or their number does not fit the shape.
    """
    if type(data) is not list:
        raise invalid(f"The data of {quoted(name)} must be a list.")
    flat = data
    if data and type(data[0]) is list:
        nested, flat = _flattened(data, len(shape), name)
        if nested != shape:
            raise invalid(f"The data of {quoted(name)} is nested as {list(nested)}, but its shape is {list(shape)}.")
    if len(flat) != prod(shape):
        raise invalid(f"{quoted(name)} has {len(flat)} elements, but its shape {list(shape)} holds {prod(shape)}.")
    return shaped(elements(flat, datatype, name), shape, name)


def fitted(array: Array, shape: tuple[int, ...], name: str) -> Array:
    """An array that was given flat, or nested as its shape says, in that shape.

    Raises:
        RequestFault: It is neither.
    """
    if array.ndim > 1 and array.shape != shape:
        raise invalid(f"The data of {quoted(name)} is nested as {list(array.shape)}, but its shape is {list(shape)}.")
    if array.size != prod(shape):
        raise invalid(f"{quoted(name)} has {array.size} elements, but its shape {list(shape)} holds {prod(shape)}.")
    return shaped(array, shape, name)


def array_from_nested(data: Any, datatype: Datatype, rank: int, name: str) -> Array:
    """The elements of lists nested to a known rank; the lengths are taken from the data.

    Raises:
        RequestFault: The nesting is not regular or not of that rank, or the elements do not fit the datatype.
    """
    shape, flat = _flattened(data, rank, name)
    return shaped(elements(flat, datatype, name), shape, name)


def _flattened(data: Any, rank: int, name: str) -> tuple[tuple[int, ...], list[Any]]:
    level: list[Any] = [data]
    shape = []
    for _ in range(rank):
        if not set(map(type, level)) <= {list}:
            raise invalid(f"{quoted(name)} must be lists nested {rank} deep.")
        lengths = set(map(len, level)) or {0}
        if len(lengths) > 1:
            raise invalid(f"{quoted(name)} is ragged: lists at one depth must have one length.")
        shape.append(lengths.pop())
        level = list(chain.from_iterable(level))
    return tuple(shape), level


def elements(flat: list[Any], datatype: Datatype, name: str) -> Array:
    """A flat list as an array of a datatype.

    Raises:
        RequestFault: An element does not fit the datatype.
    """
    types = set(map(type, flat))
    if float in types and datatype.is_integer:
        flat = [whole_number(value) for value in flat]
        types = set(map(type, flat))
    if not types <= _ACCEPTED[datatype.name]:
        expected = _JSON_NAMES.get(datatype.name) or ("numbers" if datatype.is_float else "whole numbers")
        raise invalid(f"The elements of {quoted(name)} must be {expected}, as its datatype {datatype.name} says.")
    if datatype.itemsize == 0:
        return _bytes_array([text.encode() for text in flat])
    if datatype.is_float:
        return float_elements(flat, datatype, name)
    try:
        return np.array(flat, dtype=datatype.storage)
    except OverflowError:
        raise _out_of_range(datatype, name) from None


def float_elements(flat: list[Any], datatype: Datatype, name: str) -> Array:
    """A flat list of numbers, and of nothing else, as an array of a datatype of floats.

    Raises:
        RequestFault: An element is out of range.
    """
    # Three times as fast as numpy's own walk over a list, and to the same bits: numpy, too, makes a double of each
    # element first, and both round that to the nearest.
    code = _STRUCT_CODES.get(datatype.name, "d")
    packed = bytearray(len(flat) * struct.calcsize(code))
    try:
        struct.pack_into(f"<{len(flat)}{code}", packed, 0, *flat)
    except (struct.error, OverflowError):  # a whole number that is no double, or a number that is too large
        raise _out_of_range(datatype, name) from None
    values: Array = np.frombuffer(packed, dtype=f"<{code}")
    if code == "d" and datatype.name != "FP64":
        values = _narrowed(values, datatype, name)
    return values


def _narrowed(doubles: Array, datatype: Datatype, name: str) -> Array:
    is_bf16 = datatype.name == "BF16"
    with np.errstate(over="ignore"):
        values = doubles.astype("<f4" if is_bf16 else datatype.storage)
    narrow = fp32_to_bf16(values) if is_bf16 else values
    # JSON's parser refuses what is infinite as a double, so an infinity can only come from a number that does not fit.
    if not np.isfinite(bf16_to_fp32(narrow) if is_bf16 else narrow).all():
        raise _out_of_range(datatype, name)
    return narrow


def _out_of_range(datatype: Datatype, name: str) -> RequestFault:
    return invalid(f"An element of {quoted(name)} is out of range for {datatype.name}.")


def _bytes_array(items: Sequence[bytes]) -> Array:
    array = np.empty(len(items), dtype=object)
    array[:] = items
    return array


def shaped(array: Array, shape: tuple[int, ...], name: str) -> Array:
    """An array in a shape that holds as many elements.

    Raises:
        RequestFault: numpy cannot have the shape: `[0, 2147483647, 2147483647, 2147483647]` is empty, and yet too big.
    """
    try:
        return array.reshape(shape)
    except ValueError:
        raise invalid(f"{quoted(name)} cannot have the shape {list(shape)}.") from None


def json_ready(array: Array, datatype: Datatype) -> Any:
    """An array as something that orjson can write: an array of numbers (a scalar for rank 0), or lists of strings.

    Not-a-number and infinities have no JSON form; orjson writes `null` for them. BYTES that are not UTF-8 are written
    with replacement characters: who needs them whole asks for the binary form.
    """
    if datatype.itemsize == 0:
        texts = np.empty(array.size, dtype=object)
        texts[:] = [item.decode("utf-8", "replace") for item in array.ravel().tolist()]
        return texts.reshape(array.shape).tolist()
    if datatype.name == "BF16":
        array = bf16_to_fp32(array)
    return np.ascontiguousarray(array) if array.ndim else array[()]
