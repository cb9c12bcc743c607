"""Whether an answer agrees with a recorded one, and if not, where it differs most."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from nimify.analysis.analysis import Array
from nimify.errors import one_line, shortened
from nimify.planning.tolerances import EXACT, Tolerance
from nimify.tensors import Datatype, TensorSpec, bf16_to_fp32


def compare_outputs(
    specs: Iterable[TensorSpec],
    expected: Mapping[str, Array],
    actual: Mapping[str, Array],
    tolerances: Mapping[str, Tolerance],
) -> str | None:
    """The first output that differs, in one sentence; `None` when all agree."""
    for spec in specs:
        name = shortened(one_line(spec.name), 64)
        if spec.name not in actual:
            return f"The output '{name}' is missing."
        if spec.name not in expected:
            return f"The output '{name}' was not recorded."
        difference = compare(expected[spec.name], actual[spec.name], spec.datatype, tolerances.get(spec.name, EXACT))
        if difference is not None:
            return f"The output '{name}' {difference}"
    return None


def compare(expected: Array, actual: Array, datatype: Datatype, tolerance: Tolerance) -> str | None:
    """How an array differs from the expected one, as the end of a sentence; `None` when they agree.

    Not-a-number agrees with itself, and an infinity with itself.
    """
    if expected.shape != actual.shape:
        return f"has the shape {list(actual.shape)} instead of {list(expected.shape)}."
    if expected.dtype != actual.dtype:
        return f"is of type {actual.dtype} instead of {expected.dtype}."
    if not datatype.is_float:
        return _unequal(expected.ravel(), actual.ravel())
    if datatype.name == "BF16":
        expected, actual = bf16_to_fp32(expected), bf16_to_fp32(actual)
    return _far(expected.astype(np.float64).ravel(), actual.astype(np.float64).ravel(), tolerance)


def _unequal(expected: Array, actual: Array) -> str | None:
    wrong = np.flatnonzero(expected != actual)
    if not wrong.size:
        return None
    first = int(wrong[0])
    return (
        f"differs in {wrong.size} of {expected.size} elements; element {first} is {_shown(actual[first])} "
        f"instead of {_shown(expected[first])}."
    )


def _far(expected: Array, actual: Array, tolerance: Tolerance) -> str | None:
    with np.errstate(invalid="ignore", over="ignore"):
        close = np.isclose(actual, expected, rtol=tolerance.rtol, atol=tolerance.atol, equal_nan=True)
        if close.all():
            return None
        distance = np.where(close, -1.0, np.nan_to_num(np.abs(actual - expected), nan=np.inf))
    worst = int(np.argmax(distance))
    return (
        f"differs in {int((~close).sum())} of {close.size} elements beyond rtol {tolerance.rtol:g} and "
        f"atol {tolerance.atol:g}; element {worst} is {actual[worst]:.7g} instead of {expected[worst]:.7g}."
    )


def _shown(value: object) -> str:
    return shortened(one_line(repr(value.item() if isinstance(value, np.generic) else value)), 64)
