"""Whether requests may be merged along the first axis: what the shapes say, and what runs show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from nimify.analysis.analysis import BatchAxis
from nimify.errors import shortened
from nimify.tensors import Datatype, Signature, TensorSpec, bf16_to_fp32

Array = np.ndarray[Any, Any]

# Relative to the largest value of an output. Runs at different batch sizes may round differently, nothing more.
_TOLERANCES: Final = {"FP64": 1e-5, "FP32": 1e-3, "FP16": 1e-2, "BF16": 3e-2}


def declared_batch_axis(signature: Signature) -> BatchAxis:
    """Whether every input and output has a free first dimension, as merging requests needs."""
    if not signature.inputs:
        return BatchAxis(False, "The model has no inputs.", "declared")
    tensors = [("Input", spec) for spec in signature.inputs] + [("Output", spec) for spec in signature.outputs]
    for role, spec in tensors:
        obstacle = _obstacle(spec)
        if obstacle:
            return BatchAxis(False, f"{role} '{shortened(spec.name)}' {obstacle}.", "declared")
    return BatchAxis(
        True, "Every input and output has a free first dimension; that rows are independent was not tried.", "declared"
    )


def dependence(
    merged: Mapping[str, Array], alone: Sequence[Mapping[str, Array]], outputs: Sequence[TensorSpec]
) -> str | None:
    """Why the rows of a merged run are not what each row gives alone, as a sentence; `None` when they are.

    Args:
        merged: Outputs of one run over all rows.
        alone: Outputs of one run per row, in the same order.
        outputs: The model's outputs.
    """
    for spec in outputs:
        name = f"output '{shortened(spec.name)}'"
        together = merged[spec.name]
        if together.ndim == 0 or together.shape[0] != len(alone):
            rows = "no rows" if together.ndim == 0 else f"{together.shape[0]} rows"
            return f"Given {len(alone)} rows, the model gives {rows} of {name}."
        for row, outcome in enumerate(alone):
            if not _same(together[row : row + 1], outcome[spec.name], spec.datatype):
                return f"Rows influence each other: {name} of a row differs between a run alone and a merged run."
    return None


def _obstacle(spec: TensorSpec) -> str:
    if not spec.shape:
        return "is a scalar, so it has no first dimension to merge requests along"
    if isinstance(spec.shape[0], int):
        return f"has a fixed first dimension of {spec.shape[0]}"
    return ""


def _same(one: Array, other: Array, datatype: Datatype) -> bool:
    if one.shape != other.shape:
        return False
    if not datatype.is_float:
        return bool(np.array_equal(one, other))
    one, other = _widened(one, datatype), _widened(other, datatype)
    finite = np.abs(other[np.isfinite(other)])
    scale = float(finite.max()) if finite.size else 0.0
    tolerance = _TOLERANCES[datatype.name]
    return bool(np.allclose(one, other, rtol=tolerance, atol=tolerance * scale, equal_nan=True))


def _widened(array: Array, datatype: Datatype) -> Array:
    return (bf16_to_fp32(array) if datatype.name == "BF16" else array).astype(np.float64)
