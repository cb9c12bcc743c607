"""Where ONNX Runtime changes the layout of pictures: it convolves in blocks of channels.

Two-dimensional FP32 convolutions, pooling and what works element by element keep the blocked layout among themselves.
Every other operator gets a copy in the plain layout, and a copy is one more tensor in memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from nimify.analysis.graph import InferredGraph, Node, Value
from nimify.analysis.memory_kernels import HALF_PRECISION, IN_PLACE

_BLOCK: Final = 8
_POOLING: Final = frozenset({"MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool"})


def blocked_weights(node: Node, graph: InferredGraph) -> Value | None:
    """The stored weights of a convolution that works in blocks; `None` for every other node."""
    weights = graph.values.get(node.inputs[1]) if node.operator == "Conv" and len(node.inputs) > 1 else None
    if weights is None or not weights.stored or weights.shape is None or len(weights.shape) != 4:
        return None
    computed_in_fp32 = weights.element_type == "FLOAT" or weights.element_type in HALF_PRECISION
    return weights if computed_in_fp32 else None


def with_reorders(graph: InferredGraph) -> InferredGraph:
    """The graph with a node for each copy into another layout."""
    if not any(blocked_weights(node, graph) for node in graph.nodes):
        return graph
    rewriting = _Rewriting(graph)
    for node in graph.nodes:
        rewriting.add(node)
    outputs = rewriting.plain(graph.outputs)
    return replace(graph, nodes=tuple(rewriting.nodes), values=rewriting.values, outputs=tuple(outputs))


class _Rewriting:
    def __init__(self, graph: InferredGraph) -> None:
        self._graph = graph
        self.nodes: list[Node] = []
        self.values = dict(graph.values)
        self._blocked: set[str] = set()
        self._copies: dict[str, str] = {}

    def add(self, node: Node) -> None:
        """Append a node, and before it the copies that it needs."""
        if (weights := blocked_weights(node, self._graph)) is not None:
            few = weights.shape is not None and weights.shape[1] < _BLOCK and node.attributes.get("group", 1) == 1
            first = node.inputs[0] if few else self._copied(node.inputs[0], to_blocks=True)
            self._append(node, (first, *node.inputs[1:]), blocked=True)
        elif self._stays_blocked(node):
            self._append(node, node.inputs, blocked=True)
        else:
            self._append(node, tuple(self.plain(node.inputs)), blocked=False)

    def plain(self, names: Sequence[str]) -> list[str]:
        """The names, each in the plain layout."""
        return [self._copied(name, to_blocks=False) for name in names]

    def _append(self, node: Node, inputs: tuple[str, ...], *, blocked: bool) -> None:
        self.nodes.append(replace(node, inputs=inputs))
        if blocked:
            self._blocked.update(name for name in node.outputs if name)

    def _copied(self, name: str, *, to_blocks: bool) -> str:
        if not name or (name in self._blocked) == to_blocks:
            return name
        if name not in self._copies:
            copy = self._copies[name] = f"{name} in the other layout"
            self.values[copy] = replace(self.values.get(name, Value(name)), name=copy, stored=False)
            self.nodes.append(Node(f"reorder {name}", "Reorder", "nimify", (name,), (copy,)))
        return self._copies[name]

    def _stays_blocked(self, node: Node) -> bool:
        tensors = [name for name in node.inputs if name and not self._is_stored(name)]
        if not tensors or not all(name in self._blocked for name in tensors):
            return False
        if node.operator in _POOLING or node.operator == "BatchNormalization":
            return True
        if node.operator == "Concat":
            return node.attributes.get("axis") == 1 and all(self._channels(name) % _BLOCK == 0 for name in tensors)
        alike = len({self.values[name].shape for name in tensors}) == 1
        return node.operator in IN_PLACE and node.operator != "Softmax" and alike

    def _is_stored(self, name: str) -> bool:
        value = self.values.get(name)
        return value is not None and value.stored

    def _channels(self, name: str) -> int:
        shape = self.values[name].shape
        return shape[1] if shape is not None and len(shape) > 1 else 1
