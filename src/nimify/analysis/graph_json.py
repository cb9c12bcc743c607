"""`InferredGraph` as JSON and back: how it travels from the guarded child, which nobody trusts, to its parent."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import zip_longest
from typing import Any, Final

from nimify.analysis.graph import Gap, InferredGraph, Node, Value
from nimify.formats.limits import MAX_RANK, MAX_SUBGRAPH_DEPTH

_STORED: Final = 1


def to_json(graph: InferredGraph) -> dict[str, Any]:
    """A graph as plain data; values are numbered and attributes that occur often are written once."""
    return _Encoder().document(graph)


def from_json(data: Any, *, beside: InferredGraph | None = None) -> InferredGraph:
    """A graph out of what `to_json` wrote.

    Args:
        data: What it wrote.
        beside: The same model's graph at another binding; what is equal is shared with it, which saves memory.

    Raises:
        ValueError: It is not that; the message is for developers.
    """
    try:
        decoder = _Decoder(data["attributes"], beside)
        return decoder.graph(data["graph"], 0)
    except (KeyError, TypeError, IndexError, AttributeError, RecursionError) as error:
        raise ValueError(f"no inferred graph ({type(error).__name__})") from None


class _Encoder:
    def __init__(self) -> None:
        self._attributes: list[Mapping[str, Any]] = []
        self._numbers: dict[int, int] = {}

    def document(self, graph: InferredGraph) -> dict[str, Any]:
        encoded = self._graph(graph)
        return {"attributes": self._attributes, "graph": encoded}

    def _graph(self, graph: InferredGraph) -> dict[str, Any]:
        return {
            "values": [
                [value.name, value.element_type, value.shape, _STORED if value.stored else 0]
                for value in graph.values.values()
            ],
            "nodes": [self._node(node) for node in graph.nodes],
            "inputs": graph.inputs,
            "outputs": graph.outputs,
            "binding": dict(graph.binding),
            "opset": graph.opset,
            "gaps": [[gap.node, gap.operator, gap.reason] for gap in graph.gaps],
        }

    def _node(self, node: Node) -> list[Any]:
        return [
            node.name, node.operator, node.domain, node.inputs, node.outputs, self._number(node.attributes),
            [[position, value] for position, value in node.constants.items()],
            {name: self._graph(body) for name, body in node.subgraphs.items()},
        ]  # fmt: skip

    def _number(self, attributes: Mapping[str, Any]) -> int:
        # Inference shares equal attributes, so identity finds nearly all that are equal.
        number = self._numbers.get(id(attributes))
        if number is None:
            number = self._numbers[id(attributes)] = len(self._attributes)
            self._attributes.append(attributes)
        return number


class _Decoder:
    def __init__(self, attributes: Any, beside: InferredGraph | None) -> None:
        self._attributes = [dict(entry) for entry in attributes]
        self._words: dict[str, str] = {} if beside is None else {name: name for name in beside.values}
        self._beside = beside

    def graph(self, data: Any, depth: int) -> InferredGraph:
        if depth > MAX_SUBGRAPH_DEPTH + 1:
            raise ValueError("no inferred graph (too deep)")
        twin = self._beside if depth == 0 else None
        values = [self._value(*entry) for entry in data["values"]]
        nodes = [self._node(*entry, depth=depth) for entry in data["nodes"]]
        if twin is not None:
            values = [value if value != (known := twin.values.get(value.name)) else known for value in values]
            nodes = [other if one == other else one for one, other in zip_longest(nodes, twin.nodes[: len(nodes)])]
        return InferredGraph(
            nodes=tuple(nodes),
            values={value.name: value for value in values},
            inputs=self._names(data["inputs"]),
            outputs=self._names(data["outputs"]),
            binding={str(name): int(length) for name, length in data["binding"].items()},
            opset=int(data["opset"]),
            gaps=tuple(Gap(*map(str, entry)) for entry in data["gaps"]),
        )

    def _value(self, name: Any, element_type: Any, shape: Any, flags: Any) -> Value:
        if shape is not None:
            shape = tuple(shape)
            if len(shape) > MAX_RANK or not all(isinstance(length, int) and length >= 0 for length in shape):
                raise ValueError("no inferred graph (a shape)")
        return Value(self._word(name), self._word(element_type), shape, flags == _STORED)

    def _node(
        self, name: Any, operator: Any, domain: Any, inputs: Any, outputs: Any, attributes: Any, constants: Any,
        subgraphs: Any, *, depth: int,
    ) -> Node:  # fmt: skip
        return Node(
            name=str(name),
            operator=self._word(operator),
            domain=self._word(domain),
            inputs=self._names(inputs),
            outputs=self._names(outputs),
            attributes=self._attributes[attributes],
            constants={int(position): value for position, value in constants} if constants else _NOTHING,
            subgraphs={str(key): self.graph(body, depth + 1) for key, body in subgraphs.items()}
            if subgraphs
            else _NOTHING,
        )

    def _names(self, names: Any) -> tuple[str, ...]:
        return tuple(self._word(name) for name in names)

    def _word(self, text: Any) -> str:
        """The text as an object that all its uses share."""
        if not isinstance(text, str):
            raise ValueError("no inferred graph (a name)")
        return self._words.setdefault(text, text)


_NOTHING: Final[Mapping[Any, Any]] = {}
