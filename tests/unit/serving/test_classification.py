"""The classification extension, against a slow and obvious way to say the same."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from nimify.serving.classification import classified
from nimify.serving.faults import RequestFault
from nimify.tensors import DATATYPES, bf16_to_fp32, fp32_to_bf16

ORDERED = [name for name, datatype in DATATYPES.items() if datatype.is_float or datatype.is_integer]


def obvious(row: list[Any], count: int) -> list[bytes]:
    """The largest first, not-a-number last, equal ones in order."""
    order = sorted(
        range(len(row)), key=lambda index: (math.isnan(row[index]), 0 if math.isnan(row[index]) else -row[index])
    )
    written = [f"{value:f}" if isinstance(value, float) else f"{value}" for value in row]
    return [f"{written[index]}:{index}".encode() for index in order[:count]]


@pytest.mark.parametrize("name", ORDERED)
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_it_gives_what_sorting_by_hand_gives(name: str, data: st.DataObject) -> None:
    """Every ordered datatype, batched and not, with ties, extremes and not-a-number."""
    datatype = DATATYPES[name]
    shape = data.draw(hnp.array_shapes(min_dims=1, max_dims=3, min_side=1, max_side=4))
    array = data.draw(hnp.arrays(datatype.storage, shape))
    count = data.draw(st.integers(1, 70))
    values = bf16_to_fp32(array) if name == "BF16" else array
    batched = classified(array, datatype, count, "y", batched=True)
    assert batched.tolist() == [obvious(row.ravel().tolist(), count) for row in values]
    whole = classified(array, datatype, count, "y", batched=False)
    assert whole.tolist() == obvious(values.ravel().tolist(), count)


def test_labels_stand_behind_the_index() -> None:
    """As Triton writes them; an element beyond the labels has none."""
    array = np.array([[1, 3, 2]], dtype="<i4")
    labels = np.array([b"cat", "grün".encode()], dtype=object)
    told = classified(array, DATATYPES["INT32"], 3, "y", batched=True, labels=labels)
    assert told.tolist() == [["3:1:grün".encode(), b"2:2", b"1:0:cat"]]


def test_equal_elements_keep_their_order() -> None:
    """The first of the largest comes first."""
    array = np.array([[1, 3, 3, 1, 3]], dtype="<f4")
    expected = [[b"3.000000:1", b"3.000000:2", b"3.000000:4", b"1.000000:0", b"1.000000:3"]]
    assert classified(array, DATATYPES["FP32"], 9, "y", batched=True).tolist() == expected


@pytest.mark.parametrize("name", ["INT8", "INT64"])
def test_the_smallest_integer_comes_last(name: str) -> None:
    """It has no positive counterpart, so negating would make it the largest."""
    lowest = np.iinfo(DATATYPES[name].storage).min
    array = np.array([lowest, 0, -1, lowest + 1], dtype=DATATYPES[name].storage)
    order = [int(item.split(b":")[1]) for item in classified(array, DATATYPES[name], 4, "y", batched=False)]
    assert order == [1, 2, 3, 0]


def test_large_neighbours_are_told_apart() -> None:
    """64-bit integers that are one and the same number as a float are still ordered, and written whole."""
    for name in ("UINT64", "INT64"):
        array = np.array([2**62, 2**62 + 1], dtype=DATATYPES[name].storage)
        assert classified(array, DATATYPES[name], 1, "y", batched=False).tolist() == [b"4611686018427387905:1"]


def test_half_precision_is_ordered_by_value() -> None:
    """FP16 and BF16: negative numbers, infinities, and the value with six decimals."""
    values = np.array([-np.inf, -1.5, 0.25, np.inf], dtype="<f4")
    expected = [b"inf:3", b"0.250000:2", b"-1.500000:1", b"-inf:0"]
    assert classified(values.astype("<f2"), DATATYPES["FP16"], 4, "y", batched=False).tolist() == expected
    assert classified(fp32_to_bf16(values), DATATYPES["BF16"], 4, "y", batched=False).tolist() == expected


@pytest.mark.parametrize("name", ["BOOL", "BYTES"])
def test_what_has_no_order_is_refused(name: str) -> None:
    """The message names the output and its datatype."""
    array = np.zeros(2, dtype=DATATYPES[name].storage)
    with pytest.raises(RequestFault, match=f"'y' is {name}"):
        classified(array, DATATYPES[name], 1, "y", batched=False)


@pytest.mark.parametrize(("shape", "given"), [((2, 0), (2, 0)), ((0, 3), (0, 3)), ((3,), (3, 1)), ((2, 2, 2), (2, 4))])
def test_a_row_never_gives_more_than_it_has(shape: tuple[int, ...], given: tuple[int, ...]) -> None:
    """Empty rows give nothing, no rows give no rows, a row of one axis is one element."""
    array = np.zeros(shape, dtype="<f4")
    assert classified(array, DATATYPES["FP32"], 1000, "y", batched=True).shape == given
