"""Whether a request's tensors are what the model takes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from nimify.serving.faults import Kind, RequestFault
from nimify.serving.validation import InputContract
from nimify.tensors import DATATYPES, TensorSpec

SPECS = (
    TensorSpec("ids", DATATYPES["INT64"], ("batch", "sequence")),
    TensorSpec("image", DATATYPES["FP32"], (None, 3, 8)),
)


def tensors(ids: tuple[int, ...] = (2, 5), image: tuple[int, ...] = (2, 3, 8)) -> dict[str, Any]:
    return {"ids": np.zeros(ids, dtype="i8"), "image": np.zeros(image, dtype="f4")}


def test_rows_are_counted_where_they_may_be_merged() -> None:
    """Without batching a request is one unit, whatever its first axis is."""
    assert InputContract(SPECS, 8).check(tensors()) == 2
    assert InputContract(SPECS, 0).check(tensors()) == 1
    assert InputContract(SPECS, 0).check(tensors(ids=(7, 0), image=(0, 3, 8))) == 1


@pytest.mark.parametrize("rows", [1, 8])
def test_a_batch_may_be_as_large_as_the_limit(rows: int) -> None:
    """From one row to the limit itself."""
    assert InputContract(SPECS, 8).check(tensors((rows, 1), (rows, 3, 8))) == rows


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({}, "'ids' is missing"),
        ({"ids": tensors()["ids"]}, "'image' is missing"),
        ({**tensors(), "extra": np.zeros(1)}, "no input 'extra'"),
        (tensors(ids=(2,)), r"shape of 'ids' must be \[-1, -1\] .*not \[2\]"),
        (tensors(ids=(2, 5, 1)), "shape of 'ids'"),
        (tensors(image=(2, 3, 9)), r"shape of 'image' must be \[-1, 3, 8\]"),
        (tensors(image=(2, 3, 0)), "shape of 'image'"),
        (tensors(ids=(3, 5)), "same number of rows"),
        (tensors((0, 5), (0, 3, 8)), "1 to 8 rows, not 0"),
        (tensors((9, 5), (9, 3, 8)), "1 to 8 rows, not 9"),
    ],
)
def test_what_does_not_fit_is_named(given: dict[str, Any], says: str) -> None:
    """The message names the input, what it must be and what it was."""
    with pytest.raises(RequestFault, match=says) as caught:
        InputContract(SPECS, 8).check(given)
    assert caught.value.kind is Kind.INVALID_ARGUMENT


def test_the_datatype_that_a_request_names_must_be_the_models() -> None:
    """UINT16 is not BF16, though both are carried as the same 16 bits."""
    contract = InputContract((TensorSpec("x", DATATYPES["BF16"], (1,)),), 0)
    array = {"x": np.zeros(1, dtype="<u2")}
    assert contract.check(array, {"x": DATATYPES["BF16"]}) == 1
    with pytest.raises(RequestFault, match="datatype of 'x' is BF16, not UINT16"):
        contract.check(array, {"x": DATATYPES["UINT16"]})


def test_a_hostile_name_stays_on_its_line() -> None:
    """What a client calls an input cannot break out of the message."""
    with pytest.raises(RequestFault) as caught:
        InputContract(SPECS, 0).check({**tensors(), "\r\nSet-Cookie: a": np.zeros(1)})
    assert "\n" not in caught.value.message
    assert len(caught.value.message) < 200
