"""Tensors as raw bytes: the binary extension of the Open Inference Protocol.

Little-endian, row-major, without padding. A BYTES element is its length as 4 little-endian bytes, then its content.
Source: Triton's `protocol/extension_binary_data.md` and `docs/protocol` of the Open Inference Protocol.
"""

from __future__ import annotations

import struct
from math import prod
from typing import Final

import numpy as np

from nimify.serving.engines.engine import Array
from nimify.serving.faults import invalid
from nimify.serving.json_tensors import quoted, shaped
from nimify.tensors import Datatype

_ALIGNMENT_BYTES: Final = 16
"""What malloc, and therefore numpy, aligns to; also the width of the vector code that ONNX Runtime is built with."""
_ALWAYS_COPIED_BYTES: Final = 4096
"""Copying this much costs less than asking for an array's address."""


def array_from_bytes(raw: bytes | memoryview, datatype: Datatype, shape: tuple[int, ...], name: str) -> Array:
    """The tensor that `raw` holds; large, aligned numbers are not copied.

    Raises:
        RequestFault: The length of `raw` does not fit the shape, or its content is not well formed.
    """
    count = prod(shape)
    if datatype.itemsize == 0:
        return shaped(_bytes_elements(raw, count, name), shape, name)
    if len(raw) != count * datatype.itemsize:
        raise invalid(
            f"{quoted(name)} has {len(raw)} bytes, but {datatype.name} in the shape {list(shape)} "
            f"takes {count * datatype.itemsize}."
        )
    if datatype.name == "BOOL":
        bits = np.frombuffer(raw, dtype="<u1")
        if bits.size and bits.max() > 1:
            raise invalid(f"{quoted(name)} is BOOL, but has a byte that is neither 0 nor 1.")
        return shaped(bits.view(datatype.storage), shape, name)
    return shaped(_aligned(np.frombuffer(raw, dtype=datatype.storage)), shape, name)


def _aligned(array: Array) -> Array:
    """The array, copied when its memory is not aligned as numpy's own is.

    A tensor may start at any byte behind the JSON part. Engines read whole words, and their vector code sums in another
    order where memory is not aligned: without the copy, an answer's last bits would depend on the length of that part.
    """
    if array.nbytes > _ALWAYS_COPIED_BYTES and array.ctypes.data % _ALIGNMENT_BYTES == 0:
        return array
    return array.copy()


def bytes_from_array(array: Array, datatype: Datatype) -> bytes:
    """The inverse of `array_from_bytes`."""
    if datatype.itemsize:
        return array.tobytes()
    return b"".join(struct.pack("<I", len(item)) + item for item in array.ravel().tolist())


def view_of_array(array: Array, datatype: Datatype) -> memoryview:
    """The same without a copy, where the array's memory holds just that."""
    if not datatype.itemsize or not array.size:
        return memoryview(bytes_from_array(array, datatype))
    view: memoryview = np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
    return view


def _bytes_elements(raw: bytes | memoryview, count: int, name: str) -> Array:
    # Every element takes at least its length prefix: refuse before allocating for a count that cannot be there.
    if count * 4 > len(raw):
        raise invalid(f"{quoted(name)} has {len(raw)} bytes, too few for {count} BYTES elements.")
    items = np.empty(count, dtype=object)
    position, content = 0, bytes(raw)
    for index in range(count):
        if position + 4 > len(content):
            raise invalid(f"{quoted(name)} ends inside the length of its element {index}.")
        (length,) = struct.unpack_from("<I", content, position)
        position += 4
        if position + length > len(content):
            raise invalid(f"{quoted(name)} ends inside its element {index}.")
        items[index] = content[position : position + length]
        position += length
    if position != len(content):
        raise invalid(f"{quoted(name)} has {len(content) - position} bytes more than its elements take.")
    return items
