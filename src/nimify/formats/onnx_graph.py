"""Walks over the graphs of an ONNX model: the main one, subgraphs of nodes, and bodies of functions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import onnx

from nimify.errors import UnsafeModel
from nimify.formats.limits import MAX_NODES, MAX_SUBGRAPH_DEPTH, MAX_TENSORS

STANDARD_DOMAIN = "ai.onnx"


def all_nodes(model: onnx.ModelProto, source: str) -> list[onnx.NodeProto]:
    """Every node of the model, subgraphs and functions included.

    Raises:
        UnsafeModel: There are too many, or they nest too deeply.
    """
    nodes: list[onnx.NodeProto] = []
    pending: list[tuple[Iterable[onnx.NodeProto], int]] = [(model.graph.node, 0)]
    pending += [(function.node, 0) for function in model.functions]
    while pending:
        level, depth = pending.pop()
        if depth > MAX_SUBGRAPH_DEPTH:
            raise UnsafeModel(source, f"it nests more than {MAX_SUBGRAPH_DEPTH} subgraphs.")
        for node in level:
            nodes.append(node)
            pending += [(graph.node, depth + 1) for graph in _subgraphs(node.attribute)]
        if len(nodes) > MAX_NODES:
            raise UnsafeModel(source, f"it has more than {MAX_NODES} nodes.")
    return nodes


def all_graphs(model: onnx.ModelProto, nodes: Iterable[onnx.NodeProto]) -> list[onnx.GraphProto]:
    """The main graph and every subgraph, given every node."""
    return [model.graph, *(graph for node in nodes for graph in _subgraphs(node.attribute))]


def all_tensors(model: onnx.ModelProto, nodes: list[onnx.NodeProto], source: str) -> list[onnx.TensorProto]:
    """Every stored tensor: initializers of all graphs, and attributes of all nodes and functions.

    Raises:
        UnsafeModel: There are too many.
    """
    tensors: list[onnx.TensorProto] = []
    for graph in all_graphs(model, nodes):
        tensors += graph.initializer
        for sparse in graph.sparse_initializer:
            tensors += (sparse.values, sparse.indices)
    for node in nodes:
        tensors += _attribute_tensors(node.attribute)
    for function in model.functions:
        tensors += _attribute_tensors(function.attribute_proto)
    if len(tensors) > MAX_TENSORS:
        raise UnsafeModel(source, f"it has more than {MAX_TENSORS} stored tensors.")
    return tensors


def domain_of(name: str) -> str:
    """The domain's name; the standard one is written as the empty text in files."""
    return name or STANDARD_DOMAIN


def _subgraphs(attributes: Iterable[onnx.AttributeProto]) -> Iterator[onnx.GraphProto]:
    for attribute in attributes:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def _attribute_tensors(attributes: Iterable[onnx.AttributeProto]) -> Iterator[onnx.TensorProto]:
    for attribute in attributes:
        if attribute.HasField("t"):
            yield attribute.t
        yield from attribute.tensors
        sparse = [attribute.sparse_tensor] if attribute.HasField("sparse_tensor") else []
        for tensor in (*sparse, *attribute.sparse_tensors):
            yield tensor.values
            yield tensor.indices
