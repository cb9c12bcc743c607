"""Free axes get the lengths that were asked for, then those that ran, then those that their names suggest."""

from __future__ import annotations

import pytest

from nimify.analysis.binding import default_binding, free_axis_names
from nimify.tensors import DATATYPES, Dim, Signature, TensorSpec


def signature(**inputs: tuple[str, tuple[Dim, ...]]) -> Signature:
    specs = (TensorSpec(name, DATATYPES[datatype], shape) for name, (datatype, shape) in inputs.items())
    return Signature(inputs=tuple(specs), outputs=())


@pytest.mark.parametrize(
    ("datatype", "shape", "binding"),
    [
        ("FP32", ("batch", 3, "height", "width"), {"batch": 4, "height": 224, "width": 224}),
        ("INT64", ("batch_size", "sequence_length"), {"batch_size": 4, "sequence_length": 128}),
        ("INT64", ("N", "S"), {"N": 4, "S": 128}),
        ("FP32", ("N", 3, "H", "W"), {"N": 4, "H": 224, "W": 224}),
        ("FP32", (None, 3, None, None), {"x.0": 4, "x.2": 224, "x.3": 224}),
        ("FP32", ("seq_len", "batch", 80), {"seq_len": 128, "batch": 4}),
        ("FP32", ("batch", "features"), {"batch": 4, "features": 64}),
        ("FP32", (1, 4), {}),
    ],
)
def test_names_suggest_lengths(datatype: str, shape: tuple[Dim, ...], binding: dict[str, int]) -> None:
    """Images are 224 wide, sequences 128 long, everything else 64, and the first axis is the batch."""
    assert default_binding(signature(x=(datatype, shape)), batch=4) == binding


def test_a_wish_comes_first() -> None:
    """What was asked for wins over what ran and what the name suggests, for named and nameless axes."""
    taken = signature(x=("FP32", ("batch", "length", None)))
    found = default_binding(taken, lengths={"length": 7, "x.2": 5}, ran_with={"x": (1, 8, 8)})
    assert found == {"batch": 1, "length": 7, "x.2": 5}


def test_what_ran_comes_before_what_the_name_suggests() -> None:
    """The lengths of the trial run are lengths that the model takes; the batch stays what was asked for."""
    taken = signature(x=("FP32", ("batch", "length", 3)))
    assert default_binding(taken, batch=2, ran_with={"x": (3, 16, 3)}) == {"batch": 2, "length": 16}


def test_an_axis_has_one_length_wherever_it_stands() -> None:
    """The batch of one input is the batch of another, wherever it stands there."""
    taken = signature(x=("FP32", ("batch", 2)), h=("FP32", (2, "batch", 8)))
    assert default_binding(taken, batch=3) == {"batch": 3}


def test_every_free_axis_is_named_once() -> None:
    """Names that inputs share count once; axes without a name get one."""
    taken = signature(ids=("INT64", ("N", "S")), mask=("INT64", ("N", "S")), image=("FP32", ("N", 3, None)))

    assert free_axis_names(taken) == ("N", "S", "image.2")
