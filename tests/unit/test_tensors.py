"""Datatypes and signatures: tables that agree, and laws that hold for every value."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nimify.serving.grpc.protos import model_config_pb2
from nimify.tensors import (
    DATATYPES,
    Signature,
    TensorSpec,
    bf16_to_fp32,
    datatype_from_onnx,
    fp32_to_bf16,
)

SPECS = st.builds(
    TensorSpec,
    name=st.text(),
    datatype=st.sampled_from(list(DATATYPES.values())),
    shape=st.lists(st.none() | st.text() | st.integers(0, 2**62), max_size=5).map(tuple),
)
SIGNATURES = st.builds(Signature, st.lists(SPECS, max_size=3).map(tuple), st.lists(SPECS, max_size=3).map(tuple))


@given(SPECS)
def test_a_tensor_survives_json(spec: TensorSpec) -> None:
    """`from_dict(json(to_dict(s))) == s`, also with free, symbolic and no axes."""
    assert TensorSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec


@given(SIGNATURES)
def test_a_signature_survives_json(signature: Signature) -> None:
    """`from_dict(json(to_dict(s))) == s`, in the file's order."""
    assert Signature.from_dict(json.loads(json.dumps(signature.to_dict()))) == signature


@given(SPECS)
def test_the_protocol_shape_has_a_number_for_every_axis(spec: TensorSpec) -> None:
    """-1 where the length is free; the shape is fixed when there is none."""
    assert len(spec.protocol_shape) == len(spec.shape)
    assert spec.is_fixed is (-1 not in spec.protocol_shape)


@pytest.mark.parametrize("data", [{}, {"name": "x"}, {"name": "x", "datatype": "FLOAT", "shape": []}], ids=str)
def test_a_damaged_tensor_is_a_key_error(data: dict[str, Any]) -> None:
    """As `from_dict` promises."""
    with pytest.raises(KeyError):
        TensorSpec.from_dict(data)


@pytest.mark.parametrize("name", DATATYPES)
def test_a_datatype_is_the_same_in_every_vocabulary(name: str) -> None:
    """The table of onnx and Triton's own enum know it by these names; its width is that of its name."""
    datatype = DATATYPES[name]
    assert onnx.TensorProto.DataType.Name(datatype.onnx) == datatype.onnx_name
    assert datatype_from_onnx(datatype.onnx) is datatype
    assert datatype.triton in dict(model_config_pb2.DataType.items())
    digits = "".join(character for character in name if character.isdigit())
    assert datatype.itemsize * 8 == int(digits or {"BOOL": 8, "BYTES": 0}[name])
    assert datatype.storage.byteorder != ">"


def test_datatypes_fall_into_four_kinds() -> None:
    """Floats, integers, booleans and bytes; nothing is two of them."""
    floats = {name for name, datatype in DATATYPES.items() if datatype.is_float}
    integers = {name for name, datatype in DATATYPES.items() if datatype.is_integer}
    assert not floats & integers
    assert set(DATATYPES) - floats - integers == {"BOOL", "BYTES"}


@pytest.mark.parametrize("kind", ["FLOAT8E4M3FN", "INT4", "COMPLEX64", "UNDEFINED"])
def test_what_no_protocol_carries_has_no_datatype(kind: str) -> None:
    """The caller says so in words."""
    assert datatype_from_onnx(onnx.TensorProto.DataType.Value(kind)) is None


def test_every_bf16_number_survives_a_float() -> None:
    """All 65 536 of them; not-a-number stays one, though its payload may change."""
    bits = np.arange(2**16, dtype="<u2")
    wide = bf16_to_fp32(bits)
    is_nan = np.isnan(wide)
    assert is_nan.sum() == 2 * 127
    back = fp32_to_bf16(wide)
    np.testing.assert_array_equal(back[~is_nan], bits[~is_nan])
    assert np.isnan(bf16_to_fp32(back[is_nan])).all()


@pytest.mark.parametrize(
    ("bits", "rounded"),
    [
        (0x3F80_7FFF, 0x3F80),  # below the middle
        (0x3F80_8000, 0x3F80),  # a tie: to the even one
        (0x3F81_8000, 0x3F82),  # a tie: to the even one
        (0x3F80_8001, 0x3F81),  # above the middle
        (0x7F7F_7FFF, 0x7F7F),  # the largest that stays finite
        (0x7F7F_8000, 0x7F80),  # rounds to infinity
        (0x7F80_0000, 0x7F80),  # infinity
        (0xFF80_0000, 0xFF80),
        (0x0000_0001, 0x0000),  # the smallest float
        (0x8000_0000, 0x8000),  # negative zero
        (0x7FC0_0000, 0x7FC0),  # not-a-number, and payloads that rounding would carry over
        (0x7F80_0001, 0x7FC0),
        (0xFFFF_8000, 0x7FC0),
        (0xFFFF_FFFF, 0x7FC0),
    ],
    ids=hex,
)
@pytest.mark.parametrize("shape", [(), (1,), (1, 1)], ids=str)
def test_rounding_is_to_nearest_with_ties_to_even(bits: int, rounded: int, shape: tuple[int, ...]) -> None:
    """For arrays of any shape, without a warning."""
    result = fp32_to_bf16(np.array(bits, dtype="<u4").view("<f4").reshape(shape))
    assert (result.shape, result.dtype) == (shape, np.dtype("<u2"))
    assert int(result.reshape(-1)[0]) == rounded


@given(st.floats(0, 2.0**127, width=32))
def test_no_bf16_number_is_nearer(value: float) -> None:
    """Neither neighbour of the rounded number lies closer to the value."""
    bits = int(fp32_to_bf16(np.array([value], dtype="<f4"))[0])
    near = bf16_to_fp32(np.array([bits, max(bits - 1, 0), bits + 1], dtype="<u2")).astype("f8")
    distances = np.abs(near - value)
    assert distances[0] == distances.min()


def test_arrays_in_any_memory_order_are_converted() -> None:
    """Transposed, sliced, empty, and of rank 0."""
    values = np.arange(12, dtype="<f4").reshape(3, 4)
    for part in (values.T, values[::2, ::-1], values[:, :0], values[0, 0].reshape(())):
        back = bf16_to_fp32(fp32_to_bf16(part))
        assert isinstance(back, np.ndarray)
        assert back.shape == part.shape
        np.testing.assert_array_equal(back, part)


def test_importing_it_loads_numpy_and_no_engine() -> None:
    """It stands at the bottom, under everything."""
    code = "import sys, nimify.tensors; print({'onnx', 'onnxruntime', 'pydantic', 'yaml'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"
