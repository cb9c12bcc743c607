"""Inputs drawn from signatures."""

from __future__ import annotations

import numpy as np
import pytest

from nimify.analysis.drawing import Draw, draws
from nimify.tensors import DATATYPES, Dim, Signature, TensorSpec


def signature(*inputs: tuple[str, str, tuple[Dim, ...]]) -> Signature:
    return Signature(tuple(TensorSpec(name, DATATYPES[kind], shape) for name, kind, shape in inputs), ())


def test_axes_with_one_name_get_one_length() -> None:
    """Ids and mask have the same sequence, and a batch is a batch wherever it stands."""
    wanted = signature(("a", "FP32", ("n", "s", 2)), ("b", "INT64", ("n", "s")), ("c", "FP32", ("s", "n", None)))

    shapes = {name: array.shape for name, array in Draw(seed=0, length=5).inputs(wanted, rows=3).items()}

    assert shapes["a"][0] == shapes["b"][0] == shapes["c"][1] == 3
    assert shapes["a"][1] == shapes["b"][1] == shapes["c"][0]


@pytest.mark.parametrize("datatype", DATATYPES)
def test_every_datatype_can_be_drawn(datatype: str) -> None:
    """Arrays have the storage, and the rows of a batch differ."""
    array = Draw(seed=0).inputs(signature(("x", datatype, ("n", 16))), rows=3)["x"]

    assert array.shape == (3, 16)
    assert array.dtype == DATATYPES[datatype].storage
    assert not np.array_equal(array[0], array[1])


@pytest.mark.parametrize("bound", [1000, 10, 2, 1])
def test_integers_lie_below_the_bound(bound: int) -> None:
    """Index inputs stay in range when the bound does."""
    array = Draw(seed=0, integer_bound=bound).inputs(signature(("ids", "INT64", (500,))), rows=1)["ids"]

    assert 0 <= array.min() <= array.max() < bound


def test_masks_are_zero_or_one() -> None:
    """A mask of 700 would make a realistic request unrealistic."""
    array = Draw(seed=0).inputs(signature(("attention_mask", "INT64", (500,))), rows=1)["attention_mask"]

    assert set(array.tolist()) == {0, 1}


def test_scalars_and_empty_axes_are_drawn_as_declared() -> None:
    """Rank 0 stays rank 0, and a length of zero stays zero."""
    drawn = Draw(seed=0).inputs(signature(("s", "FP32", ()), ("e", "BYTES", (0, 2))), rows=1)

    assert drawn["s"].shape == ()
    assert drawn["e"].shape == (0, 2)


def test_only_what_can_differ_is_tried() -> None:
    """A fixed picture is drawn once, a text encoder in many ways."""
    picture = signature(("x", "FP32", ("n", 3, 8, 8)))
    text = signature(("ids", "INT64", ("n", "s")))

    assert len(list(draws(picture, 0))) == 1
    tried = [(draw.length, draw.integer_bound) for draw in draws(text, 0)]
    assert tried[:5] == [(8, 1000), (8, 10), (8, 2), (8, 1), (16, 1000)]
    assert len(tried) == 28


def test_absurd_free_axes_do_not_fill_the_memory() -> None:
    """Eight free axes of 224 are refused before anything is allocated."""
    with pytest.raises(MemoryError, match="elements"):
        Draw(seed=0, length=224).inputs(signature(("x", "FP32", (None,) * 8)), rows=1)
