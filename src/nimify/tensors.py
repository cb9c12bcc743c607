"""Tensor types and signatures, in the words of the Open Inference Protocol.

One signature is read once from the model file and feeds everything: config.pbtxt, OpenAPI, request validation,
warm-up, golden requests. Importing this module loads no engine; numpy only.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

Dim = int | str | None
"""One axis: a fixed length, a symbolic length by name, or `None` for a length that is free and has no name."""


@dataclass(frozen=True, slots=True)
class Datatype:
    """One element type, under each name that a file or protocol gives it.

    Attributes:
        name: Open Inference Protocol name, e.g. `FP32`.
        onnx: `TensorProto.DataType` number.
        onnx_name: `TensorProto.DataType` name, e.g. `FLOAT`.
        triton: Name in Triton's `ModelConfig`, e.g. `TYPE_FP32`.
        storage: numpy dtype that carries the elements. BF16 is carried as the raw 16 bits (`uint16`), because numpy
            has no such type; BYTES as Python `bytes` objects (`object`).
        itemsize: Bytes per element on the wire; 0 for BYTES, whose elements differ in length.
    """

    name: str
    onnx: int
    onnx_name: str
    triton: str
    storage: np.dtype[Any]
    itemsize: int

    @property
    def is_float(self) -> bool:
        """Whether elements are floating-point numbers (FP16, BF16, FP32, FP64)."""
        return self.name in {"FP16", "BF16", "FP32", "FP64"}

    @property
    def is_integer(self) -> bool:
        """Whether elements are whole numbers (INT8 … UINT64)."""
        return self.name.startswith(("INT", "UINT"))


def _datatype(name: str, onnx: int, onnx_name: str, triton: str, storage: str) -> Datatype:
    dtype = np.dtype(storage)
    return Datatype(name, onnx, onnx_name, triton, dtype, 0 if dtype.hasobject else dtype.itemsize)


# Names: https://github.com/kserve/open-inference-protocol (datatypes), Triton's model_config.proto (DataType),
# onnx.proto (TensorProto.DataType). All multi-byte elements are little-endian on the wire.
DATATYPES: Final[Mapping[str, Datatype]] = {
    datatype.name: datatype
    for datatype in (
        _datatype("BOOL", 9, "BOOL", "TYPE_BOOL", "bool"),
        _datatype("UINT8", 2, "UINT8", "TYPE_UINT8", "<u1"),
        _datatype("UINT16", 4, "UINT16", "TYPE_UINT16", "<u2"),
        _datatype("UINT32", 12, "UINT32", "TYPE_UINT32", "<u4"),
        _datatype("UINT64", 13, "UINT64", "TYPE_UINT64", "<u8"),
        _datatype("INT8", 3, "INT8", "TYPE_INT8", "<i1"),
        _datatype("INT16", 5, "INT16", "TYPE_INT16", "<i2"),
        _datatype("INT32", 6, "INT32", "TYPE_INT32", "<i4"),
        _datatype("INT64", 7, "INT64", "TYPE_INT64", "<i8"),
        _datatype("FP16", 10, "FLOAT16", "TYPE_FP16", "<f2"),
        _datatype("BF16", 16, "BFLOAT16", "TYPE_BF16", "<u2"),
        _datatype("FP32", 1, "FLOAT", "TYPE_FP32", "<f4"),
        _datatype("FP64", 11, "DOUBLE", "TYPE_FP64", "<f8"),
        _datatype("BYTES", 8, "STRING", "TYPE_STRING", "O"),
    )
}

_BY_ONNX: Final[Mapping[int, Datatype]] = {datatype.onnx: datatype for datatype in DATATYPES.values()}


def datatype_from_onnx(number: int) -> Datatype | None:
    """The datatype of a `TensorProto.DataType` number, or `None` when no protocol carries it (FP8, INT4, complex)."""
    return _BY_ONNX.get(number)


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """What one input or output accepts or gives.

    Attributes:
        name: As in the model file.
        datatype: Element type.
        shape: One entry per axis; see `Dim`. Rank 0 (a scalar) is the empty tuple.
    """

    name: str
    datatype: Datatype
    shape: tuple[Dim, ...]

    @property
    def protocol_shape(self) -> list[int]:
        """The shape as the Open Inference Protocol writes it: -1 for every axis that is not fixed."""
        return [dim if isinstance(dim, int) else -1 for dim in self.shape]

    @property
    def is_fixed(self) -> bool:
        """Whether every axis has a fixed length."""
        return all(isinstance(dim, int) for dim in self.shape)

    def to_dict(self) -> dict[str, Any]:
        """The specification as plain data: `{"name", "datatype", "shape"}`, symbolic axes by name, free axes null."""
        return {"name": self.name, "datatype": self.datatype.name, "shape": list(self.shape)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> TensorSpec:
        """The inverse of `to_dict`.

        Raises:
            KeyError: A key is missing or the datatype is unknown.
        """
        return cls(data["name"], DATATYPES[data["datatype"]], tuple(data["shape"]))


@dataclass(frozen=True, slots=True)
class Signature:
    """The inputs and outputs of a model, in the file's order."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    def to_dict(self) -> dict[str, Any]:
        """The signature as plain data."""
        return {
            "inputs": [spec.to_dict() for spec in self.inputs],
            "outputs": [spec.to_dict() for spec in self.outputs],
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Signature:
        """The inverse of `to_dict`."""
        return cls(_specs(data["inputs"]), _specs(data["outputs"]))


def _specs(rows: Iterable[Mapping[str, Any]]) -> tuple[TensorSpec, ...]:
    return tuple(TensorSpec.from_dict(row) for row in rows)


def bf16_to_fp32(bits: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """BF16 elements carried as `uint16` bits, widened to float32 without loss (any shape)."""
    wide = bits.astype("<u4").reshape(-1) << 16
    return wide.view("<f4").reshape(bits.shape)


def fp32_to_bf16(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """float32 elements rounded to the nearest BF16, ties to even, as `uint16` bits (any shape); NaN stays NaN."""
    flat = np.asarray(values, dtype="<f4").reshape(-1)  # numpy treats scalars differently from arrays of one element
    bits = flat.view("<u4")
    rounded = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("<u2")
    return np.where(np.isnan(flat), np.uint16(0x7FC0), rounded).reshape(values.shape)
