"""Tensors in plain files, to pass them between processes: raw little-endian elements, never pickles.

BYTES elements are written one after the other, each behind its length as four bytes, as in the Open Inference
Protocol's binary form.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from nimify.analysis.guarded import read_file
from nimify.tensors import Datatype, TensorSpec

Array = np.ndarray[Any, Any]


def write_tensors(folder: Path, prefix: str, tensors: Mapping[str, Array]) -> dict[str, dict[str, Any]]:
    """Write named tensors to files `<prefix>-<number>.bin`, and return where they are, as plain data."""
    places: dict[str, dict[str, Any]] = {}
    for number, (name, array) in enumerate(tensors.items()):
        file = f"{prefix}-{number}.bin"
        (folder / file).write_bytes(_encoded(array))
        places[name] = {"file": file, "shape": list(array.shape)}
    return places


def read_tensors(
    folder: Path, places: Mapping[str, Mapping[str, Any]], specs: tuple[TensorSpec, ...]
) -> dict[str, Array]:
    """The inverse of `write_tensors`, for the tensors of a signature; checks everything that it is told.

    Raises:
        ValueError, KeyError, TypeError, OSError: The files are not what `write_tensors` writes.
    """
    tensors = {}
    for spec in specs:
        place = places[spec.name]
        file, shape = str(place["file"]), tuple(int(dim) for dim in place["shape"])
        if "/" in file or any(dim < 0 for dim in shape):
            raise ValueError("not a tensor file")
        path = folder / file
        data = read_file(path, path.lstat().st_size)
        tensors[spec.name] = _decoded(data, spec.datatype, shape)
    return tensors


def _encoded(array: Array) -> bytes:
    if not array.dtype.hasobject:
        return np.ascontiguousarray(array).tobytes()
    return b"".join(struct.pack("<I", len(item)) + item for item in array.ravel().tolist())


def _decoded(data: bytes, datatype: Datatype, shape: tuple[int, ...]) -> Array:
    if datatype.itemsize:
        return np.frombuffer(data, dtype=datatype.storage).reshape(shape)
    items = np.empty(prod(shape), dtype=object)
    position = 0
    for index in range(len(items)):
        (length,) = struct.unpack_from("<I", data, position)
        items[index] = data[position + 4 : position + 4 + length]
        position += 4 + length
    if position != len(data):
        raise ValueError("the file does not end with its last element")
    return items.reshape(shape)
