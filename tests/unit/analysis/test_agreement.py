"""Comparing an engine's view of a signature with the file's."""

from __future__ import annotations

import pytest

from nimify.analysis.agreement import check_agreement
from nimify.errors import ModelError
from nimify.tensors import DATATYPES, Dim, Signature, TensorSpec


def signature(name: str = "x", datatype: str = "FP32", shape: tuple[Dim, ...] = ("n", 4)) -> Signature:
    return Signature((TensorSpec(name, DATATYPES[datatype], shape),), ())


@pytest.mark.parametrize("shape", [("n", 4), (1, 4), (None, 4), ("m", "k")])
def test_an_engine_may_know_more_or_less(shape: tuple[Dim, ...]) -> None:
    """Where one side leaves a length free, there is no contradiction."""
    check_agreement(signature(), signature(shape=shape), "model.onnx")


@pytest.mark.parametrize(
    ("engine", "sentence"),
    [
        (signature("z"), "does not find its input 'x'"),
        (signature(datatype="FP64"), "declares input 'x' as FP32, and the engine finds FP64"),
        (signature(shape=("n", 5)), r"as \[-1, 4\], and the engine finds \[-1, 5\]"),
        (signature(shape=("n",)), r"the engine finds \[-1\]"),
        (Signature((*signature().inputs, *signature("w").inputs), ()), "finds an input 'w' that the graph does not"),
    ],
)
def test_contradictions_are_errors_that_name_the_tensor(engine: Signature, sentence: str) -> None:
    """Names, types, ranks and fixed lengths must agree."""
    with pytest.raises(ModelError, match=sentence):
        check_agreement(signature(), engine, "model.onnx")
