"""Cutting a graph into the parts that TensorRT can run and those that it must leave to ONNX Runtime.

A part must not depend on itself through a node outside it. So each node gets a stage: the first is 0, and a node is
one stage after a producer that runs elsewhere. Nodes of one stage that touch each other are one part. That takes
time linear in the nodes and edges. An engine may join parts that this keeps apart, so their number is an upper bound.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from nimify.analysis.graph import InferredGraph, Node

_SHOWN: Final = 20


@dataclass(frozen=True, slots=True)
class Subgraph:
    """A part of the graph that runs in TensorRT as one engine.

    Attributes:
        nodes: Names of its nodes, in an order in which they can run.
    """

    nodes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """As plain data; of a large part only the first nodes are named."""
        return {"node_count": len(self.nodes), "nodes": list(self.nodes[:_SHOWN])}


def supported_subgraphs(graph: InferredGraph, supported: Sequence[bool]) -> tuple[Subgraph, ...]:
    """The supported parts, none of which depends on itself through a node outside it.

    Args:
        graph: The graph.
        supported: For each node whether TensorRT runs it.
    """
    producers = {name: index for index, node in enumerate(graph.nodes) for name in node.outputs if name}
    stages = [0] * len(graph.nodes)
    parts = _Parts(len(graph.nodes))
    for index, node in enumerate(graph.nodes):
        inputs = [producers[name] for name in _reads(node) if producers.get(name, index) < index]
        stages[index] = max(
            (stages[producer] + (supported[producer] != supported[index]) for producer in inputs), default=0
        )
        for producer in inputs:
            if stages[producer] == stages[index] and supported[producer] == supported[index]:
                parts.join(producer, index)
    members: dict[int, list[int]] = {}
    for index, is_supported in enumerate(supported):
        if is_supported:
            members.setdefault(parts.of(index), []).append(index)
    return tuple(
        Subgraph(tuple(graph.nodes[index].name for index in part))
        for part in members.values()
        if any(not is_stored(graph, graph.nodes[index]) for index in part)
    )


def is_stored(graph: InferredGraph, node: Node) -> bool:
    """Whether a node only gives stored values, so that there is nothing to run."""
    outputs = [graph.values.get(name) for name in node.outputs if name]
    return node.operator == "Constant" or all(value is not None and value.stored for value in outputs)


def _reads(node: Node) -> list[str]:
    """What a node reads, bodies included: those read values of the graph around them by name."""
    names = [name for name in node.inputs if name]
    pending = list(node.subgraphs.values())
    while pending:
        body = pending.pop()
        names += body.outputs
        for inner in body.nodes:
            names += inner.inputs
            pending += inner.subgraphs.values()
    return names


class _Parts:
    """Which nodes are connected, by union and find."""

    def __init__(self, count: int) -> None:
        self._parents = list(range(count))

    def of(self, index: int) -> int:
        """The representative of a node's part."""
        while self._parents[index] != index:
            self._parents[index] = self._parents[self._parents[index]]
            index = self._parents[index]
        return index

    def join(self, first: int, second: int) -> None:
        """Make two parts one."""
        low, high = sorted((self.of(first), self.of(second)))
        self._parents[high] = low
