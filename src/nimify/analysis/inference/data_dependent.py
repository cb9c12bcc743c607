"""Operators whose output depends on what is in their inputs, not only on how long these are.

What is known before a run is an upper bound. It is taken, and a gap is recorded that says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import Final

from nimify.analysis.inference.call import Call, Rule
from nimify.analysis.inference.kinds import INT64, Kind, Tensor


def _non_zero(call: Call) -> Sequence[Kind]:
    shape = call.shape(0)
    return [Tensor(INT64, (max(len(shape), 1), prod(shape)))]


def _non_max_suppression(call: Call) -> Sequence[Kind]:
    _, boxes, _ = call.shape(0, 3)
    batch, classes, _ = call.shape(1, 3)
    most = call.array(2)
    per_class = boxes if most is None or most.size != 1 else min(boxes, max(int(most.item()), 0))
    return [Tensor(INT64, (batch * classes * per_class, 3))]


def _unique(call: Call) -> Sequence[Kind]:
    shape, element_type = call.shape(0), call.tensor(0).element_type
    axis = call.attributes.get("axis")
    length = prod(shape) if axis is None else shape[axis]
    values = Tensor(element_type, (length,) if axis is None else shape)
    return [values, *[Tensor(INT64, (length,))] * 3]


def _compress(call: Call) -> Sequence[Kind]:
    shape, condition = call.shape(0), call.tensor(1).elements
    axis = call.attributes.get("axis")
    limit = prod(shape) if axis is None else shape[axis]
    kept = limit if condition is None else min(limit, condition)
    if axis is None:
        return [Tensor(call.tensor(0).element_type, (kept,))]
    axis %= len(shape)
    return [Tensor(call.tensor(0).element_type, (*shape[:axis], kept, *shape[axis + 1 :]))]


def _whole(call: Call) -> Sequence[Kind]:
    return [Tensor(call.tensor(0).element_type, call.shape(0))]


def _top_k(call: Call) -> Sequence[Kind]:
    shape = call.shape(0)
    return [Tensor(call.tensor(0).element_type, shape), Tensor(INT64, shape)]


BOUNDED: Final[Mapping[str, Rule]] = {
    "Compress": _compress,
    "NonMaxSuppression": _non_max_suppression,
    "NonZero": _non_zero,
    "StringNormalizer": _whole,
    "Unique": _unique,
}
"""Upper bounds of operators whose outputs are never known before a run."""

BOUNDED_IF_UNKNOWN: Final[Mapping[str, Rule]] = {"Slice": _whole, "TopK": _top_k}
"""Upper bounds of operators whose outputs are known when their parameters are."""

BOUND_REASON: Final = "how much it gives depends on the data; the most that it can give is counted"
