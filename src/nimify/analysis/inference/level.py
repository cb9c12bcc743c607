"""One graph on the way through inference: what was found of its values, its nodes and its gaps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import onnx

from nimify.analysis.graph import Gap, Node, Value
from nimify.analysis.inference.kinds import UNKNOWN, Array, Kind, Tensor, from_type, type_name
from nimify.analysis.inference.scope import Scope
from nimify.errors import shortened
from nimify.formats.onnx_graph import domain_of

MAX_GAPS: Final = 1000
"""Gaps that are recorded one by one."""


class Level:
    """Collects what is found in one graph.

    Args:
        graph: The graph.
        scope: Its values.
        binding: Lengths of free axes by name, for what the file declares of values.
        depth: How many graphs are around it.
    """

    def __init__(self, graph: onnx.GraphProto, scope: Scope, binding: Mapping[str, int], depth: int) -> None:
        self.scope = scope
        self.depth = depth
        self.nodes: list[Node] = []
        self.gaps: list[Gap] = []
        self._declared = {info.name: info.type for info in (*graph.value_info, *graph.output)}
        self._binding = binding

    def define(
        self, node: onnx.NodeProto, outputs: Sequence[str], kinds: Sequence[Kind], arrays: Sequence[Array | None]
    ) -> bool:
        """Define a node's outputs, by what the file declares where nothing better is known; whether all are known."""
        complete = True
        is_constant = node.op_type == "Constant" and domain_of(node.domain) == "ai.onnx"
        for index, name in enumerate(outputs):
            if not name:
                continue
            kind = kinds[index] if index < len(kinds) else UNKNOWN
            if isinstance(kind, Tensor) and (kind.shape is None or kind.element_type == 0):
                kind = self._as_declared(name, kind)
                complete = complete and not (isinstance(kind, Tensor) and kind.shape is None)
            self.scope.define(name, kind, arrays[index] if index < len(arrays) else None)
            if is_constant:
                self.scope.stored.add(name)
        return complete

    def note(self, label: str, operator: str, reason: str) -> None:
        """Record a gap."""
        self.add_gaps([Gap(shortened(label), shortened(operator), reason)])

    def add_gaps(self, gaps: Sequence[Gap]) -> None:
        """Record the gaps of a body."""
        self.gaps.extend(gaps[: MAX_GAPS - len(self.gaps)])

    def values(self) -> dict[str, Value]:
        """Every value of the graph."""
        stored = self.scope.stored
        return {name: _value(name, kind, name in stored) for name, kind in self.scope.kinds.items()}

    def _as_declared(self, name: str, kind: Tensor) -> Kind:
        """What the file says of a value, with free axes bound, where inference says nothing."""
        proto = self._declared.get(name)
        if proto is None:
            return kind
        declared = from_type(_bound(proto, self._binding))
        if not isinstance(declared, Tensor):
            return declared
        return Tensor(kind.element_type or declared.element_type, declared.shape if kind.shape is None else kind.shape)


def _bound(proto: onnx.TypeProto, binding: Mapping[str, int]) -> onnx.TypeProto:
    """A tensor type whose named axes have the lengths of the binding, where it names them."""
    if proto.WhichOneof("value") != "tensor_type":
        return proto
    copy = onnx.TypeProto()
    copy.CopyFrom(proto)
    for dim in copy.tensor_type.shape.dim:
        if dim.dim_param in binding:
            dim.dim_value = binding[dim.dim_param]
    return copy


def _value(name: str, kind: Kind, stored: bool) -> Value:
    if isinstance(kind, Tensor):
        return Value(name, type_name(kind.element_type), kind.shape, stored)
    return Value(name, "", None, stored)
