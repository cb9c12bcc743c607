"""Tensors as JSON: what is taken, and what is refused rather than bent."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nimify.serving.faults import Kind, RequestFault
from nimify.serving.json_tensors import (
    MAX_DIM,
    MAX_RANK,
    array_from_list,
    array_from_nested,
    checked_shape,
    json_ready,
    quoted,
)
from nimify.tensors import DATATYPES, bf16_to_fp32, fp32_to_bf16

INTEGERS = [name for name, datatype in DATATYPES.items() if datatype.is_integer]
FLOATS = [name for name, datatype in DATATYPES.items() if datatype.is_float]
# The largest number of each datatype, and the smallest number that would round to infinity.
FLOAT_EDGES = {
    "FP16": (65504.0, 65520.0),
    "BF16": (2.0**128 - 2.0**120, 2.0**128 - 2.0**119),
    "FP32": (2.0**128 - 2.0**104, 2.0**128 - 2.0**103),
    "FP64": (1.7976931348623157e308, 10**309),
}


def flat(data: Any, datatype: str, shape: tuple[int, ...] | None = None) -> Any:
    return array_from_list(data, DATATYPES[datatype], (len(data),) if shape is None else shape, "x")


def nested(data: Any, rank: int, datatype: str = "FP32") -> Any:
    return array_from_nested(data, DATATYPES[datatype], rank, "x")


@pytest.mark.parametrize("name", INTEGERS)
def test_integers_are_taken_up_to_their_bounds_and_not_beyond(name: str) -> None:
    """Nothing wraps around."""
    bounds = np.iinfo(DATATYPES[name].storage)
    assert flat([bounds.min, 0, bounds.max], name).tolist() == [bounds.min, 0, bounds.max]
    for value in (bounds.min - 1, bounds.max + 1, 2**64, -(2**63) - 1):
        with pytest.raises(RequestFault, match=f"out of range for {name}"):
            flat([0, value], name)


@pytest.mark.parametrize("name", FLOATS)
@pytest.mark.parametrize("sign", [1, -1])
def test_floats_are_taken_up_to_their_bounds_and_not_beyond(name: str, sign: int) -> None:
    """No finite number becomes infinite, whichever way it is rounded."""
    largest, too_large = FLOAT_EDGES[name]
    array = flat([sign * largest], name)
    values = bf16_to_fp32(array) if name == "BF16" else array
    assert float(values[0]) == sign * largest
    for value in (sign * too_large, sign * 10**400):
        with pytest.raises(RequestFault, match=f"out of range for {name}"):
            flat([0.5, value], name)


@pytest.mark.parametrize("name", DATATYPES)
@pytest.mark.parametrize("value", [None, {}, {"a": 1}, [], [1]], ids=repr)
def test_no_datatype_takes_a_null_an_object_or_a_list(name: str, value: Any) -> None:
    """Also not behind a good element, where only a look at every element finds it."""
    good: Any = {"BOOL": True, "BYTES": "a"}.get(name, 1)
    with pytest.raises(RequestFault):
        flat([good, value], name)


@pytest.mark.parametrize("name", INTEGERS)
@pytest.mark.parametrize("value", [0.1, 1e-300, 2.0**54, 1e300, True, "1"], ids=repr)
def test_integers_take_whole_numbers_only(name: str, value: Any) -> None:
    """Nor a float so large that it no longer says which number is meant."""
    with pytest.raises(RequestFault, match="must be whole numbers"):
        flat([1, value], name)


@pytest.mark.parametrize("name", INTEGERS)
def test_a_whole_number_may_be_spelled_with_a_point(name: str) -> None:
    """To JSON, 1.0 is 1; the bounds hold all the same."""
    array = flat([1, 2.0, -0.0], name)
    assert (array.tolist(), array.dtype) == ([1, 2, 0], DATATYPES[name].storage)
    for value in (300.0, -300.0):
        if not np.iinfo(array.dtype).min <= value <= np.iinfo(array.dtype).max:
            with pytest.raises(RequestFault, match="out of range"):
                flat([value], name)


@pytest.mark.parametrize("name", FLOATS)
@pytest.mark.parametrize("value", [True, "1", "NaN"], ids=repr)
def test_floats_take_numbers_only(name: str, value: Any) -> None:
    """Whole numbers are fine; booleans and text are not."""
    assert flat([1, 0.5], name).size == 2
    with pytest.raises(RequestFault, match="must be numbers"):
        flat([0.5, value], name)


@pytest.mark.parametrize(("name", "value"), [("BOOL", 1), ("BOOL", 0.0), ("BOOL", "true"), ("BYTES", 1)])
def test_booleans_and_bytes_take_their_own_kind_only(name: str, value: Any) -> None:
    """1 is not true, and a number is not text."""
    with pytest.raises(RequestFault, match="booleans" if name == "BOOL" else "strings"):
        flat([value], name)


def test_bytes_are_the_utf8_of_the_text() -> None:
    """NUL and everything beyond ASCII come through."""
    assert flat(["é", "", "a\0b"], "BYTES").tolist() == ["é".encode(), b"", b"a\0b"]


@pytest.mark.parametrize(
    ("data", "shape"),
    [
        ([[1, 2], [3]], (2, 2)),  # ragged
        ([[1, 2], 3], (2, 2)),  # a number among lists
        ([1, [2, 3]], (3,)),  # a list among numbers
        ([[1, 2, 3, 4]], (2, 2)),  # nested otherwise than the shape says
        ([[1], [2]], (2,)),  # too deep
        ([[[1]], [[2]]], (2, 1)),  # too deep at the bottom
        ([[1], [2]], (1, 2)),
        ([1, 2, 3], (2, 2)),
        ([1, 2, 3, 4, 5], (2, 2)),
        ([], (1,)),
        ([1], (0,)),
        ([[]], (1,)),
        ([[1]], ()),
    ],
    ids=repr,
)
def test_data_must_fit_the_shape(data: Any, shape: tuple[int, ...]) -> None:
    """Flat in any number of axes, or nested exactly as the shape says; nothing else."""
    with pytest.raises(RequestFault) as caught:
        flat(data, "FP32", shape)
    assert caught.value.kind is Kind.INVALID_ARGUMENT


@pytest.mark.parametrize("data", [None, 1, "abc", {"0": 1}], ids=repr)
def test_data_must_be_a_list(data: Any) -> None:
    """Also for a single element."""
    with pytest.raises(RequestFault, match="must be a list"):
        array_from_list(data, DATATYPES["FP32"], (), "x")


@pytest.mark.parametrize("shape", [(), (1,), (4,), (2, 2), (1, 4, 1), (1,) * MAX_RANK], ids=repr)
def test_flat_data_takes_any_shape_of_its_size(shape: tuple[int, ...]) -> None:
    """Row-major, down to rank 0 and up to numpy's limit."""
    count = int(np.prod(shape))
    array = flat(list(range(count)), "INT32", shape)
    assert array.shape == shape
    assert array.ravel().tolist() == list(range(count))


def test_an_empty_shape_that_numpy_cannot_have_is_the_clients_fault() -> None:
    """No elements, yet too big an array."""
    with pytest.raises(RequestFault, match="cannot have the shape"):
        flat([], "FP32", (0, MAX_DIM, MAX_DIM, MAX_DIM))


@pytest.mark.parametrize(
    ("data", "rank"),
    [
        (1, 1),
        ([1], 0),
        ([1], 2),
        ([[1]], 1),
        ([[1], [2, 3]], 2),
        ([[1], []], 2),
        ([[[1]], [2]], 3),
        ([None], 1),
        (None, 0),
        ([{}], 2),
    ],
    ids=repr,
)
def test_nesting_must_be_regular_and_as_deep_as_the_rank(data: Any, rank: int) -> None:
    """Ragged, too flat or too deep: all refused."""
    with pytest.raises(RequestFault):
        nested(data, rank)


@pytest.mark.parametrize(
    ("data", "shape"), [(3, ()), ([], (0,)), ([], (0, 0)), ([[], []], (2, 0)), ([[1, 2]], (1, 2))], ids=repr
)
def test_nested_lists_tell_their_shape(data: Any, shape: tuple[int, ...]) -> None:
    """Rank 0 is a bare number; empty lists give empty axes."""
    assert nested(data, len(shape)).shape == shape


@pytest.mark.parametrize("name", DATATYPES)
def test_rank_0_is_written_as_a_bare_value(name: str) -> None:
    """A scalar goes out as it comes in, not as a list of one."""
    value: Any = {"BOOL": True, "BYTES": "a"}.get(name, 1)
    array = nested(value, 0, name)
    written = orjson.dumps(json_ready(array, DATATYPES[name]), option=orjson.OPT_SERIALIZE_NUMPY)
    assert orjson.loads(written) == value


def test_what_json_cannot_say_is_written_as_null() -> None:
    """Not-a-number and infinities, of every float datatype and rank."""
    for name in FLOATS:
        infinite = np.array([np.inf, np.nan, -np.inf], dtype="<f4")
        array = (
            (infinite.view("<u4") >> 16).astype("<u2") if name == "BF16" else infinite.astype(DATATYPES[name].storage)
        )
        for part, expected in ((array, b"[null,null,null]"), (array[0].reshape(()), b"null")):
            assert orjson.dumps(json_ready(part, DATATYPES[name]), option=orjson.OPT_SERIALIZE_NUMPY) == expected


def test_bytes_that_are_not_text_are_replaced_not_raised() -> None:
    """JSON cannot carry them whole."""
    array = np.array([[b"ok"], [b"\xff"]], dtype=object)
    assert json_ready(array, DATATYPES["BYTES"]) == [["ok"], ["�"]]


@given(st.lists(st.integers(-(2**65), 2**65), max_size=4))
def test_an_integer_arrives_as_itself_or_not_at_all(values: list[int]) -> None:
    """For each integer datatype, whatever the neighbours are."""
    for name in INTEGERS:
        bounds = np.iinfo(DATATYPES[name].storage)
        if all(bounds.min <= value <= bounds.max for value in values):
            assert flat(values, name).tolist() == values
        else:
            with pytest.raises(RequestFault):
                flat(values, name)


@pytest.mark.parametrize(
    "shape",
    [
        *(None, 3, "3", {}, [-1], [2, -5], [1.5], [1e300], ["1"], [True], [None], [[1]]),
        *([2**31], [2**63], [2**64], [1] * (MAX_RANK + 1)),
    ],
    ids=lambda shape: repr(shape)[:20],
)
def test_a_shape_is_a_short_list_of_sizes(shape: Any) -> None:
    """Whole numbers from 0 to the longest axis, and no more axes than numpy has."""
    with pytest.raises(RequestFault, match="shape of 'x'"):
        checked_shape(shape, "x")


def test_the_longest_shapes_are_shapes() -> None:
    """The limits themselves are allowed."""
    assert checked_shape([0, MAX_DIM], "x") == (0, MAX_DIM)
    assert checked_shape([1] * MAX_RANK, "x") == (1,) * MAX_RANK
    assert checked_shape([], "x") == ()


def test_a_shape_may_be_spelled_with_points() -> None:
    """To JSON, 2.0 is 2; the array gets true integers."""
    shape = checked_shape([2.0, 3], "x")
    assert [(type(length), length) for length in shape] == [(int, 2), (int, 3)]


def test_a_quoted_name_is_short_and_on_one_line() -> None:
    """A client cannot write a page, or a line of its own, into a message."""
    text = quoted("a\r\n\x1b[31m" + "b" * 10_000)
    assert text.startswith("'a\\r\\n\\x1b[31m")
    assert len(text) <= 66


@pytest.mark.parametrize("name", ["FP16", "BF16", "FP32", "FP64"])
def test_numbers_become_the_floats_that_numpy_makes_of_them(name: str) -> None:
    """To the last bit, whole numbers included, wherever the nearest float is hard to tell."""
    drawn = random.Random(name)
    numbers: list[int | float] = [2**53 + 1, 2**63 - 1, 2**64 - 1, 16777217, 33554435, 1e-45, 5e-324, 2049, 65519.99]
    numbers += [drawn.uniform(-1, 1) * 10.0 ** drawn.randint(-44, 4) for _ in range(3000)]
    numbers += [drawn.randint(-60000, 60000) for _ in range(500)]
    numbers = [number for number in numbers if name != "FP16" or abs(number) < 65520]
    datatype = DATATYPES[name]
    expected = np.array(numbers, dtype="<f4" if name == "BF16" else datatype.storage)
    found = array_from_list(numbers, datatype, (len(numbers),), "x")
    assert found.tobytes() == (fp32_to_bf16(expected) if name == "BF16" else expected).tobytes()
    assert found.flags.writeable
