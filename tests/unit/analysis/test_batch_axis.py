"""Comparing rows of a merged run with rows run alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from nimify.analysis.batch_axis import declared_batch_axis, dependence
from nimify.tensors import DATATYPES, Signature, TensorSpec, fp32_to_bf16

Array = np.ndarray[Any, Any]


def outputs(datatype: str = "FP32") -> tuple[TensorSpec, ...]:
    return (TensorSpec("y", DATATYPES[datatype], ("batch", None)),)


def compare(together: Array, alone: Array, datatype: str = "FP32") -> str | None:
    rows = [{"y": alone[row : row + 1]} for row in range(len(alone))]
    return dependence({"y": together}, rows, outputs(datatype))


def test_rounding_is_not_dependence() -> None:
    """Engines add up in another order at another batch size."""
    rows = np.random.default_rng(0).standard_normal((3, 5)).astype(np.float32)

    assert compare(rows * np.float32(1 + 1e-6), rows) is None


@pytest.mark.parametrize("kind", ["FP16", "BF16", "FP32", "FP64"])
def test_a_difference_in_one_row_is_dependence(kind: str) -> None:
    """One value that is off by a tenth is enough, in every floating-point type."""
    rows = np.random.default_rng(0).standard_normal((3, 5))
    changed = rows.copy()
    changed[2, 4] += 0.1 * np.abs(rows).max()

    def stored(values: Array) -> Array:
        return fp32_to_bf16(values) if kind == "BF16" else values.astype(DATATYPES[kind].storage)

    assert compare(stored(rows), stored(rows), kind) is None
    assert "Rows influence each other" in (compare(stored(changed), stored(rows), kind) or "")


def test_rows_in_another_order_are_dependence() -> None:
    """The same rows, sorted, are not the same answers."""
    rows = np.array([[3.0], [1.0], [2.0]], dtype=np.float32)

    assert compare(np.sort(rows, axis=0), rows) is not None


def test_words_must_be_equal() -> None:
    """Text has no tolerance."""
    words = np.array([[b"a"], [b"b"], [b"c"]], dtype=object)
    other = np.array([[b"a"], [b"b"], [b"C"]], dtype=object)

    assert compare(words, words, "BYTES") is None
    assert compare(other, words, "BYTES") is not None


def test_nan_equals_nan() -> None:
    """A logarithm of a negative number is the same in every batch."""
    rows = np.array([[np.nan], [1.0], [np.inf]], dtype=np.float32)

    assert compare(rows, rows) is None


def test_another_number_of_rows_is_dependence() -> None:
    """A detector that lists what it found has a free first dimension that is not a batch."""
    found = compare(np.zeros((7, 6), np.float32), np.zeros((3, 6), np.float32))

    assert found == "Given 3 rows, the model gives 7 rows of output 'y'."


def test_a_model_without_inputs_has_no_batch() -> None:
    """There is nothing to merge."""
    assert not declared_batch_axis(Signature((), outputs())).supported
