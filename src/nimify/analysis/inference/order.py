"""Puts the nodes of a graph into an order in which they can run."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Container, Iterator, Sequence

import onnx

from nimify.errors import ModelError, shortened


def ordered(
    nodes: Sequence[onnx.NodeProto], own: Container[str], is_given: Callable[[str], bool], source: str
) -> Sequence[int]:
    """The positions of the nodes, sorted so that each node comes after what it reads.

    Args:
        nodes: Of one graph, in any order.
        own: Inputs and weights of this graph.
        is_given: Whether a value is known before any node runs: one of `own`, or a value of an outer graph.
        source: The file's name, for messages.

    Raises:
        ModelError: Two nodes give the same value, nothing gives a value that a node reads, or nodes wait for each
            other in a circle.
    """
    producers = _producers(nodes, own, source)
    reads = (_needed(node, producers, is_given, source) for node in nodes)
    if all(max(needed, default=-1) < position for position, needed in enumerate(reads)):
        return range(len(nodes))  # As ONNX wants it, and nearly always has it.
    return _sorted(nodes, [_needed(node, producers, is_given, source) for node in nodes], source)


def _producers(nodes: Sequence[onnx.NodeProto], own: Container[str], source: str) -> dict[str, int]:
    producers: dict[str, int] = {}
    for position, node in enumerate(nodes):
        for name in node.output:
            if not name:
                continue
            if name in producers or name in own:
                raise ModelError(source, f"two parts of its graph give the value '{shortened(name)}'.")
            producers[name] = position
    return producers


def _needed(node: onnx.NodeProto, producers: dict[str, int], is_given: Callable[[str], bool], source: str) -> set[int]:
    needed = set()
    for name in node.input:
        if name in producers:
            needed.add(producers[name])
        elif name and not is_given(name):
            raise ModelError(
                source, f"its node '{shortened(node.name or node.op_type)}' reads '{shortened(name)}', "
                "which nothing in the graph gives."
            )  # fmt: skip
    for name in captured(node):
        if name in producers:
            needed.add(producers[name])
    return needed


def captured(node: onnx.NodeProto) -> Iterator[str]:
    """Every name that the subgraphs of a node read and do not define themselves."""
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield from _free_names(attribute.g)
        for graph in attribute.graphs:
            yield from _free_names(graph)


def _free_names(graph: onnx.GraphProto) -> Iterator[str]:
    own = {info.name for info in graph.input} | {tensor.name for tensor in graph.initializer}
    own |= {tensor.values.name for tensor in graph.sparse_initializer}
    for node in graph.node:
        own.update(node.output)
    for node in graph.node:
        yield from (name for name in node.input if name not in own)
        yield from (name for name in captured(node) if name not in own)
    yield from (info.name for info in graph.output if info.name not in own)


def _sorted(nodes: Sequence[onnx.NodeProto], reads: Sequence[set[int]], source: str) -> list[int]:
    waiting = [len(needed) for needed in reads]
    readers: list[list[int]] = [[] for _ in nodes]
    for position, needed in enumerate(reads):
        for producer in needed:
            readers[producer].append(position)
    ready = deque(position for position, count in enumerate(waiting) if count == 0)
    order = []
    while ready:
        position = ready.popleft()
        order.append(position)
        for reader in readers[position]:
            waiting[reader] -= 1
            if waiting[reader] == 0:
                ready.append(reader)
    if len(order) != len(nodes):
        stuck = next(position for position, count in enumerate(waiting) if count > 0)
        name = shortened(nodes[stuck].name or nodes[stuck].op_type)
        raise ModelError(source, f"its graph has a circle: node '{name}' waits for its own result.")
    return order
