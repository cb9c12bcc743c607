"""The values of one graph while it is inferred; a subgraph sees those of the graphs around it."""

from __future__ import annotations

from math import prod
from typing import Final

import onnx
from onnx import numpy_helper

from nimify.analysis.inference.kinds import UNKNOWN, Array, Kind, Tensor
from nimify.formats.onnx_skeleton import payload_bytes

MAX_FOLDED: Final = 1024
"""Elements of a constant whose content is followed: shapes, axes and scales are far smaller."""


class Scope:
    """Names and what is known of each.

    Args:
        outer: The scope of the graph around this one, or `None`.
    """

    def __init__(self, outer: Scope | None = None) -> None:
        self.outer = outer
        self.kinds: dict[str, Kind] = {}
        self.stored: set[str] = set()
        self._arrays: dict[str, Array] = {}
        self._tensors: dict[str, onnx.TensorProto] = {}

    def define(self, name: str, kind: Kind, array: Array | None = None) -> None:
        """Add a value, with its content if that is known and small."""
        self.kinds[name] = kind
        if array is not None and array.size <= MAX_FOLDED:
            self._arrays[name] = array

    def store(self, name: str, tensor: onnx.TensorProto) -> None:
        """Add a stored tensor; its content is decoded when somebody asks."""
        self.kinds[name] = Tensor(tensor.data_type, tuple(tensor.dims))
        self.stored.add(name)
        if is_readable(tensor):
            self._tensors[name] = tensor

    def kind(self, name: str) -> Kind:
        """What is known of a value."""
        scope = self._owner(name)
        return UNKNOWN if scope is None else scope.kinds[name]

    def array(self, name: str) -> Array | None:
        """The content of a value, if it is known."""
        scope = self._owner(name)
        if scope is None:
            return None
        if name in scope._tensors:
            array = decoded(scope._tensors.pop(name))
            if array is not None:
                scope._arrays[name] = array
        return scope._arrays.get(name)

    def forget(self, names: list[str]) -> None:
        """Drop the content of values that change from one iteration of a loop to the next."""
        for name in names:
            self._arrays.pop(name, None)

    def sees(self, name: str) -> bool:
        """Whether the value is defined here or around."""
        return self._owner(name) is not None

    def _owner(self, name: str) -> Scope | None:
        scope: Scope | None = self
        while scope is not None and name not in scope.kinds:
            scope = scope.outer
        return scope


def is_readable(tensor: onnx.TensorProto) -> bool:
    """Whether the tensor's content lies in the skeleton and is small."""
    return (
        payload_bytes(tensor) == 0
        and tensor.data_location != onnx.TensorProto.EXTERNAL
        and len(tensor.dims) <= 8
        and prod(tensor.dims) <= MAX_FOLDED
    )


def decoded(tensor: onnx.TensorProto) -> Array | None:
    """The content of a small tensor; `None` when it does not hold what it declares."""
    try:
        return numpy_helper.to_array(tensor)
    except (ValueError, TypeError, KeyError, IndexError, OverflowError):
        return None
