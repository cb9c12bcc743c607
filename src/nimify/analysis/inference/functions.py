"""Puts the bodies of a model's own functions in the place of the nodes that call them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple, TypeAlias

import onnx

from nimify.errors import ModelError, UnsafeModel, shortened
from nimify.formats.limits import MAX_SUBGRAPH_DEPTH
from nimify.formats.onnx_graph import domain_of

Key: TypeAlias = tuple[str, str, str]
Opsets: TypeAlias = Mapping[str, int]

_MAX_DEPTH: Final = 64
MAX_UNFOLDED: Final = 250_000
"""Nodes that come out of functions."""


class Inlined(NamedTuple):
    """A node, and the operator sets that its graph or function names.

    Attributes:
        node: The node; a copy with names of its own when it comes out of a function.
        opsets: Version by domain.
    """

    node: onnx.NodeProto
    opsets: Opsets


def opsets_of(imports: Sequence[onnx.OperatorSetIdProto]) -> dict[str, int]:
    """Versions by domain."""
    return {domain_of(opset.domain): opset.version for opset in imports}


class Inliner:
    """Expands calls of functions; counts what comes out against the limit on nodes.

    Args:
        functions: Of the model.
        source: The file's name, for messages.
    """

    def __init__(self, functions: Sequence[onnx.FunctionProto], source: str) -> None:
        self._functions = {(domain_of(one.domain), one.name, one.overload): one for one in functions}
        self._source = source
        self._calls = 0
        self._nodes = 0

    def expand(self, nodes: Sequence[onnx.NodeProto], opsets: Opsets) -> list[Inlined]:
        """The nodes, with those of functions in place of each call.

        Raises:
            ModelError: A function calls itself.
            UnsafeModel: Functions call each other so often that the graph would exceed the limit on nodes.
        """
        if not self._functions:
            return [Inlined(node, opsets) for node in nodes]
        return list(self._expanded(nodes, opsets, ()))

    def _expanded(self, nodes: Sequence[onnx.NodeProto], opsets: Opsets, within: tuple[Key, ...]) -> Iterator[Inlined]:
        for node in nodes:
            key = (domain_of(node.domain), node.op_type, node.overload)
            function = self._functions.get(key)
            self._nodes += bool(within)
            if self._nodes > MAX_UNFOLDED:
                raise UnsafeModel(self._source, f"its functions unfold to more than {MAX_UNFOLDED} nodes.")
            if function is None:
                yield Inlined(node, opsets)
                continue
            if key in within or len(within) >= _MAX_DEPTH:
                raise ModelError(self._source, f"its function '{shortened(node.op_type)}' calls itself.")
            self._calls += 1
            body = _Body(node, function, prefix=f"{node.name or node.op_type}/{self._calls}/")
            inner = opsets_of(function.opset_import)
            yield from self._expanded(body.nodes(), {**opsets, **inner}, (*within, key))


class _Body:
    """The body of one call: its own names get a prefix, its parameters the names that the call gives them."""

    def __init__(self, call: onnx.NodeProto, function: onnx.FunctionProto, *, prefix: str) -> None:
        self._function = function
        self._prefix = prefix
        self._attributes = {attribute.name: attribute for attribute in function.attribute_proto}
        self._attributes |= {attribute.name: attribute for attribute in call.attribute}
        self._names = dict.fromkeys(function.input, "")
        self._names |= dict(zip(function.input, call.input, strict=False))
        outputs = dict(zip(function.output, call.output, strict=False))
        # What the function hands through is both; the copy that names it anew comes last.
        self._through = {name: outputs.pop(name) for name in list(outputs) if name in self._names}
        self._names |= {name: given for name, given in outputs.items() if given}

    def nodes(self) -> list[onnx.NodeProto]:
        """The nodes of the body as copies."""
        copies = [self._copy(node, 0) for node in self._function.node]
        for inner, outer in self._through.items():
            if outer:
                copies.append(onnx.helper.make_node("Identity", [self._names[inner]], [outer]))
        return copies

    def _name(self, name: str) -> str:
        return self._names.get(name, f"{self._prefix}{name}" if name else "")

    def _copy(self, node: onnx.NodeProto, depth: int) -> onnx.NodeProto:
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        copy.name = f"{self._prefix}{node.name or node.op_type}"
        copy.input[:] = [self._name(name) for name in node.input]
        copy.output[:] = [self._name(name) for name in node.output]
        del copy.attribute[:]
        for attribute in node.attribute:
            given = self._given(attribute)
            if given is not None:
                copy.attribute.append(given)
        for attribute in copy.attribute:
            for graph in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
                self._rename(graph, depth + 1)
        return copy

    def _given(self, attribute: onnx.AttributeProto) -> onnx.AttributeProto | None:
        """An attribute, where it refers to one of the function's own with what the call gives; `None` if nothing."""
        if not attribute.ref_attr_name:
            return attribute
        given = self._attributes.get(attribute.ref_attr_name)
        if given is None:
            return None
        copy = onnx.AttributeProto()
        copy.CopyFrom(given)
        copy.name = attribute.name
        return copy

    def _rename(self, graph: onnx.GraphProto, depth: int) -> None:
        if depth > MAX_SUBGRAPH_DEPTH:
            return
        for info in (*graph.input, *graph.output, *graph.value_info):
            info.name = self._name(info.name)
        for tensor in graph.initializer:
            tensor.name = self._name(tensor.name)
        copies = [self._copy(node, depth) for node in graph.node]
        del graph.node[:]
        graph.node.extend(copies)
