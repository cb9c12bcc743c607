"""Tensors as raw bytes: lengths that lie, values that cannot be, and tensors that start anywhere."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nimify.serving.faults import RequestFault
from nimify.serving.json_tensors import MAX_DIM
from nimify.serving.raw_tensors import array_from_bytes, bytes_from_array
from nimify.tensors import DATATYPES

SIZED = [name for name, datatype in DATATYPES.items() if datatype.itemsize]


def read(raw: bytes | memoryview, datatype: str, *shape: int) -> Any:
    return array_from_bytes(raw, DATATYPES[datatype], shape, "x")


def prefixed(*items: bytes) -> bytes:
    return b"".join(struct.pack("<I", len(item)) + item for item in items)


@pytest.mark.parametrize("name", SIZED)
def test_the_length_must_be_exactly_that_of_the_shape(name: str) -> None:
    """One byte more or less is refused, and so is nothing at all."""
    size = 6 * DATATYPES[name].itemsize
    assert read(bytes(size), name, 2, 3).shape == (2, 3)
    for length in (0, size - 1, size + 1):
        with pytest.raises(RequestFault, match=f"has {length} bytes"):
            read(bytes(length), name, 2, 3)


@pytest.mark.parametrize("name", DATATYPES)
@pytest.mark.parametrize("shape", [(0,), (0, 3), (2, 0, 4)])
def test_an_empty_tensor_takes_no_bytes(name: str, shape: tuple[int, ...]) -> None:
    """It keeps its shape and its datatype's storage."""
    array = read(b"", name, *shape)
    assert array.shape == shape
    assert array.dtype == DATATYPES[name].storage


@pytest.mark.parametrize("name", DATATYPES)
def test_an_empty_shape_that_numpy_cannot_have_is_the_clients_fault(name: str) -> None:
    """No elements, yet too big an array."""
    with pytest.raises(RequestFault, match="cannot have the shape"):
        read(b"", name, 0, MAX_DIM, MAX_DIM, MAX_DIM)


@pytest.mark.parametrize("name", DATATYPES)
def test_a_huge_shape_is_refused_before_anything_is_allocated(name: str) -> None:
    """The shape is the client's word; the bytes are what is there."""
    with pytest.raises(RequestFault):
        read(bytes(64), name, MAX_DIM, MAX_DIM, MAX_DIM)


@pytest.mark.parametrize("name", SIZED)
@pytest.mark.parametrize("offset", range(9))
def test_a_tensor_may_start_at_any_byte(name: str, offset: int) -> None:
    """The JSON part before it has any length; the array is right and aligned all the same."""
    sent = (np.arange(4) % 2).astype(DATATYPES[name].storage)
    body = memoryview(b"{" * offset + sent.tobytes())
    array = read(body[offset:], name, 4)
    assert array.flags.aligned
    np.testing.assert_array_equal(array, sent)


def test_a_large_aligned_tensor_is_not_copied() -> None:
    """Its memory is that of the body; one that starts at an odd place has memory of its own."""
    body = memoryview(bytes(4 << 16))
    memory = np.frombuffer(body, dtype="u1")
    start = -memory.ctypes.data % 16
    assert np.shares_memory(read(body[start : start + 4000 * 4], "FP32", 4000), memory)
    odd = read(body[start + 4 : start + 4 + 4000 * 4], "FP32", 4000)
    assert not np.shares_memory(odd, memory)
    assert odd.ctypes.data % 16 == 0


@pytest.mark.parametrize("byte", [2, 128, 255])
def test_a_boolean_byte_is_0_or_1(byte: int) -> None:
    """Anything else is no boolean, and engines do not agree on what it would mean."""
    assert read(b"\x00\x01", "BOOL", 2).tolist() == [False, True]
    with pytest.raises(RequestFault, match="neither 0 nor 1"):
        read(bytes([0, byte]), "BOOL", 2)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\x01\x00\x00",  # inside the first length
        struct.pack("<I", 0xFFFFFFFF) + b"abcdefgh",
        struct.pack("<I", 5) + b"abcd",
        prefixed(b"abc") + b"\x01",  # inside the second length
        prefixed(b"abcdefgh"),  # one element instead of two
        prefixed(b"a", b"b") + b"\x00",
        prefixed(b"a", b"b", b"c"),
    ],
    ids=repr,
)
def test_bytes_prefixes_that_lie_are_refused(raw: bytes) -> None:
    """Elements must fill the tensor exactly, and each must be as long as it says."""
    with pytest.raises(RequestFault):
        read(raw, "BYTES", 2)


def test_many_empty_strings_are_read() -> None:
    """Half a million elements without content are half a million elements."""
    array = read(bytes(4 * 500_000), "BYTES", 500_000)
    assert set(array.tolist()) == {b""}


@given(st.lists(st.binary(max_size=9), max_size=9))
def test_bytes_come_through_whole(items: list[bytes]) -> None:
    """NULs, bytes that are not text and empty elements included."""
    raw = prefixed(*items)
    array = read(raw, "BYTES", len(items))
    assert array.tolist() == items
    assert bytes_from_array(array, DATATYPES["BYTES"]) == raw


@given(st.binary(max_size=40), st.integers(0, 6))
def test_bytes_never_raise_anything_but_a_fault(raw: bytes, count: int) -> None:
    """Whatever the body holds, it is read exactly or refused."""
    try:
        array = read(raw, "BYTES", count)
    except RequestFault:
        return
    assert bytes_from_array(array, DATATYPES["BYTES"]) == raw


def test_what_is_not_contiguous_is_written_row_by_row() -> None:
    """A transposed output has the bytes of what it looks like."""
    array = np.arange(6, dtype="<i4").reshape(2, 3).T
    assert read(bytes_from_array(array, DATATYPES["INT32"]), "INT32", 3, 2).tolist() == array.tolist()
