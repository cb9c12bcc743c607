"""Which axes of a graph are free: found by comparing the same graph at two bindings.

An `InferredGraph` holds numbers only. Whatever differs between two bindings depends on a free axis, whatever does not
is fixed; that is all that the rules about dynamic shapes need.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nimify.analysis.graph import InferredGraph, Node

VaryingAxes = Mapping[str, frozenset[int]]
"""By the name of a value: the axes whose length differs. Values that do not vary are left out."""


def varying_axes(first: InferredGraph, second: InferredGraph) -> dict[str, frozenset[int]]:
    """The axes of the main graph whose lengths differ between two bindings of one model."""
    varying = {}
    known: dict[frozenset[int], frozenset[int]] = {}  # Few differ, so that all values share some sets.
    for name, value in first.values.items():
        other = second.values.get(name)
        if value.stored or value.shape is None or other is None or other.shape is None:
            continue
        axes = _differences(value.shape, other.shape)
        if axes:
            varying[name] = known.setdefault(axes, axes)
    return varying


def varying_constants(first: InferredGraph, second: InferredGraph) -> frozenset[tuple[str, int]]:
    """Inputs, as a node's first output and a position, whose folded value depends on a free axis.

    Inference folds what it can compute from the bound shapes, e.g. the target of a `Reshape` made of a `Shape`; such
    a value is a number at each binding and yet no constant of the model.
    """
    others = {_key(node): node.constants for node in second.nodes}
    return frozenset(
        (_key(node), position)
        for node in first.nodes
        for position, constant in node.constants.items()
        if not _same(constant, others.get(_key(node), {}).get(position))
    )


def _key(node: Node) -> str:
    """What names a node for sure: names of nodes may be missing or twice, names of values may not."""
    return next(filter(None, node.outputs), node.name)


def _differences(first: tuple[int, ...], second: tuple[int, ...]) -> frozenset[int]:
    if len(first) != len(second):
        return frozenset(range(len(first)))
    return frozenset(axis for axis, (left, right) in enumerate(zip(first, second, strict=True)) if left != right)


def _same(first: Any, second: Any) -> bool:
    return bool(first == second)
