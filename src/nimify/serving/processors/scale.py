"""`scale`: multiply a tensor and add to it, and change its datatype on the way.

Before the engine it turns what clients have (raw pixels, UINT8) into what the model takes (0 to 1, FP32):
`scale: {factor: 0.00392156862745098, datatype: UINT8}`.
"""

from __future__ import annotations

import contextlib
import difflib
import math
from dataclasses import replace as with_changes
from typing import Any, Literal

import numpy as np

from nimify.errors import ConfigError
from nimify.serving.processors.precision import to_numbers, to_storage, working_dtype
from nimify.serving.processors.processor import InvalidInput, Specs, Tensors
from nimify.serving.processors.selection import replace, select
from nimify.tensors import DATATYPES, Datatype, TensorSpec


class Scale:
    """Computes `x * factor + offset`, element by element.

    The result has the datatype of the tensor on the engine's side. Whole-number results are rounded to nearest and
    stop at the ends of their range.

    Args:
        factor: What to multiply by.
        offset: What to add afterwards.
        tensor: Which tensor; may be left out when there is just one.
        datatype: What the client sends, e.g. `UINT8`, when it differs from what the model takes. Only for a step
            before the engine.
    """

    def __init__(
        self, *, factor: float, offset: float = 0.0, tensor: str | None = None, datatype: str | None = None
    ) -> None:
        self._factor = _number(factor, "factor")
        self._offset = _number(offset, "offset")
        self._tensor = tensor
        self._asked = None if datatype is None else _numeric_datatype(datatype)
        self.place: Literal["before", "after"] | None = None if datatype is None else "before"
        self._inner: TensorSpec | None = None
        self._outer: Datatype | None = None
        self._dtype = np.dtype("<f8")

    def outer(self, inner: Specs) -> Specs:
        """The same tensors; the scaled one has the client's datatype. See `Processor.outer`."""
        spec = select(inner, self._tensor, step="scale")
        if not (spec.datatype.is_float or spec.datatype.is_integer):
            raise ConfigError(
                f"'{spec.name}' is {spec.datatype.name}, and only numbers can be scaled.", field="scale.tensor"
            )
        self._inner, self._outer = spec, self._asked or spec.datatype
        self._dtype = working_dtype(self._outer, spec.datatype)
        return replace(inner, spec.name, with_changes(spec, datatype=self._outer))

    def __call__(self, tensors: Tensors) -> Tensors:
        """Scale the tensor and pass the others through. See `Processor.__call__`."""
        if self._inner is None or self._outer is None:
            raise RuntimeError("outer() comes before the first request")
        name, target = self._inner.name, self._inner.datatype
        values = to_numbers(tensors[name], self._outer, self._dtype)
        # Overflow and NaN are values like any other here; what a model makes of them is its own affair.
        with np.errstate(all="ignore"):
            scaled = np.asarray(values * self._dtype.type(self._factor) + self._dtype.type(self._offset))
        if target.is_integer and np.isnan(scaled).any():
            raise InvalidInput(f"Input '{name}' holds NaN, which cannot become {target.name}.")
        return {**tensors, name: to_storage(scaled, target)}


def _number(value: Any, option: str) -> float:
    # YAML 1.1 takes 1e-3, without a dot, for text; nobody who writes that means text.
    number = math.nan
    if isinstance(value, int | float | str) and not isinstance(value, bool):
        with contextlib.suppress(ValueError, OverflowError):
            number = float(value)
    if not math.isfinite(number):
        raise ConfigError(f"must be a finite number, not {value!r}.", field=f"scale.{option}")
    return number


def _numeric_datatype(name: Any) -> Datatype:
    known = [item.name for item in DATATYPES.values() if item.is_float or item.is_integer]
    if name in known:
        return DATATYPES[name]
    close = difflib.get_close_matches(str(name).upper(), known, n=1)
    hint = f"Did you mean '{close[0]}'? " if close else ""
    raise ConfigError(
        f"there is no numeric datatype named {name!r}.",
        field="scale.datatype",
        remedy=f"{hint}Known: {', '.join(known)}.",
    )
