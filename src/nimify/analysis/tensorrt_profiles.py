"""Optimisation profiles: for which shapes a TensorRT engine is built."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nimify.analysis.graph import InferredGraph
from nimify.tensors import Signature, TensorSpec


@dataclass(frozen=True, slots=True)
class AxisRange:
    """The lengths that a free axis may take.

    Attributes:
        minimum: Shortest.
        optimum: The one that the engine is tuned for.
        maximum: Longest.
    """

    minimum: int
    optimum: int
    maximum: int


@dataclass(frozen=True, slots=True)
class Profile:
    """The shapes of one input that an engine is built for.

    Attributes:
        input: Name of the input.
        minimum: Smallest shape.
        optimum: The shape that the engine is tuned for.
        maximum: Largest shape.
    """

    input: str
    minimum: tuple[int, ...]
    optimum: tuple[int, ...]
    maximum: tuple[int, ...]

    def to_dict(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "input": self.input,
            "min": list(self.minimum),
            "opt": list(self.optimum),
            "max": list(self.maximum),
        }


def optimisation_profiles(
    signature: Signature, graph: InferredGraph, *, batch: AxisRange | None, axes: Mapping[str, AxisRange]
) -> tuple[Profile, ...]:
    """One profile for each input that has a free axis.

    Args:
        signature: The model's inputs, with their free axes.
        graph: The graph at the lengths that are expected most; they become the optimum and, where `axes` says
            nothing, the maximum.
        batch: What the plan allows on the first axis; `None` when it is no batch axis.
        axes: What is allowed on other axes, by their symbolic names.
    """
    specs = [spec for spec in signature.inputs if not spec.is_fixed]
    return tuple(_profile(spec, _bound(spec, graph), batch, axes) for spec in specs)


def _bound(spec: TensorSpec, graph: InferredGraph) -> tuple[int, ...]:
    value = graph.values.get(spec.name)
    if value is None or value.shape is None or len(value.shape) != len(spec.shape):
        return tuple(dim if isinstance(dim, int) else 1 for dim in spec.shape)
    return value.shape


def _profile(
    spec: TensorSpec, bound: tuple[int, ...], batch: AxisRange | None, axes: Mapping[str, AxisRange]
) -> Profile:
    ranges = []
    for position, (dim, length) in enumerate(zip(spec.shape, bound, strict=True)):
        if isinstance(dim, int):
            ranges.append(AxisRange(dim, dim, dim))
        elif position == 0 and batch is not None:
            ranges.append(batch)
        else:
            ranges.append(axes.get(dim or "", AxisRange(1, length, length)))
    return Profile(
        spec.name,
        tuple(axis.minimum for axis in ranges),
        tuple(axis.optimum for axis in ranges),
        tuple(axis.maximum for axis in ranges),
    )
