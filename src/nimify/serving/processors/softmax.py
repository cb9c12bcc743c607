"""`softmax`: turn scores (logits) into probabilities that sum to one."""

from __future__ import annotations

from typing import Any

import numpy as np

from nimify.errors import ConfigError
from nimify.serving.processors.precision import to_numbers, to_storage, working_dtype
from nimify.serving.processors.processor import Specs, Tensors
from nimify.serving.processors.selection import select
from nimify.tensors import TensorSpec


class Softmax:
    """Computes `exp(x) / sum(exp(x))` along an axis without overflow.

    FP16 and BF16 are computed in float32 and rounded once at the end. Where the scores hold NaN, or infinity, or
    nothing but minus infinity, there is no distribution and the result along that axis is NaN.

    Args:
        tensor: Which tensor; may be left out when there is just one.
        axis: Which axis, counted from the end when negative; the last one by default.
    """

    def __init__(self, *, tensor: str | None = None, axis: int = -1) -> None:
        if isinstance(axis, bool) or not isinstance(axis, int):
            raise ConfigError(f"must be a whole number, not {axis!r}.", field="softmax.axis")
        self._tensor = tensor
        self._axis = axis
        self._spec: TensorSpec | None = None
        self._dtype: np.dtype[Any] = np.dtype("<f4")

    def outer(self, inner: Specs) -> Specs:
        """The same tensors: neither names, nor datatypes, nor shapes change. See `Processor.outer`."""
        spec = select(inner, self._tensor, step="softmax")
        if not spec.datatype.is_float:
            raise ConfigError(
                f"'{spec.name}' is {spec.datatype.name}, and softmax needs a floating-point tensor.",
                field="softmax.tensor",
            )
        rank = len(spec.shape)
        if not -rank <= self._axis < rank:
            raise ConfigError(
                f"'{spec.name}' has {rank} axes, so there is no axis {self._axis}.",
                field="softmax.axis",
                remedy=f"Choose one from {-rank} to {rank - 1}." if rank else "A scalar has none to choose.",
            )
        self._spec, self._dtype = spec, working_dtype(spec.datatype)
        return inner

    def __call__(self, tensors: Tensors) -> Tensors:
        """Replace the scores by probabilities and pass the other tensors through. See `Processor.__call__`."""
        if self._spec is None:
            raise RuntimeError("outer() comes before the first request")
        scores = to_numbers(tensors[self._spec.name], self._spec.datatype, self._dtype)
        if scores.size == 0:
            return tensors
        with np.errstate(invalid="ignore", under="ignore"):
            # Subtracting the greatest score changes nothing mathematically and keeps exp() from overflowing.
            powers = np.exp(scores - scores.max(axis=self._axis, keepdims=True))
            powers /= powers.sum(axis=self._axis, keepdims=True)
        return {**tensors, self._spec.name: to_storage(powers, self._spec.datatype)}
