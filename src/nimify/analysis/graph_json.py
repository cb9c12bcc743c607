"""`InferredGraph` as JSON and back: how it travels from the guarded child, which nobody trusts, to its parent.

Values and nodes travel as columns: names as they are, types, shapes and operators as positions in tables of what
occurs. So a column of a hundred thousand numbers costs a megabyte and not ten, and equal shapes become one object.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from hashlib import sha256
from typing import Any, Final

from nimify.analysis.graph import Gap, InferredGraph, Node, Value
from nimify.formats.limits import MAX_RANK, MAX_SUBGRAPH_DEPTH


def to_json(graph: InferredGraph) -> dict[str, Any]:
    """A graph as plain data."""
    return _Encoder().document(graph)


def from_json(data: Any, *, beside: InferredGraph | None = None) -> InferredGraph:
    """A graph out of what `to_json` wrote; its columns are emptied on the way, so that it is not in memory twice.

    Args:
        data: What it wrote.
        beside: The same model's graph at another binding; what is equal is shared with it, which saves memory.

    Raises:
        ValueError: It is not that; the message is for developers.
    """
    try:
        return _Decoder(data, beside).graph(data["graph"], 0)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, RecursionError) as error:
        raise ValueError(f"no inferred graph ({type(error).__name__}: {error})") from None


def nodes_digest(document: Mapping[str, Any]) -> bytes:
    """The same for two documents of `to_json` whose nodes, and names of values, are the same."""
    graph = document["graph"]
    parts: list[Any] = [document["words"], document["attributes"], *(graph[column] for column in _OF_NODES)]
    if graph["bodies"]:  # Their shapes are part of the nodes.
        parts.append(document["shapes"])
    digest = sha256()
    for part in parts:
        digest.update(json.dumps(part).encode())
    return digest.digest()


def leave_out_nodes(document: Mapping[str, Any]) -> None:
    """Shorten a document whose nodes are those of the graph beside which it will be read."""
    for column in _OF_NODES:
        del document["graph"][column]


class _Table:
    """Numbers what occurs, in the order of its first occurrence."""

    def __init__(self) -> None:
        self.entries: list[Any] = []
        self._numbers: dict[Any, int] = {}

    def number(self, key: Any, entry: Any) -> int:
        found = self._numbers.get(key)
        if found is None:
            found = self._numbers[key] = len(self.entries)
            self.entries.append(entry)
        return found


_OF_NODES: Final = (
    "values", "outside", "nodes", "operators", "domains", "read_counts", "reads", "given_counts", "gives", "attributes",
    "constants", "bodies",
)  # fmt: skip
"""Columns that are the same at every binding, unless constants or bodies depend on it."""


class _Encoder:
    def __init__(self) -> None:
        # Inference shares equal attributes, so identity finds nearly all that are equal.
        self._attributes, self._shapes, self._words = _Table(), _Table(), _Table()

    def document(self, graph: InferredGraph) -> dict[str, Any]:
        return {
            "graph": self._graph(graph),
            "attributes": self._attributes.entries,
            "shapes": self._shapes.entries,
            "words": self._words.entries,
        }

    def _graph(self, graph: InferredGraph) -> dict[str, Any]:
        values = graph.values.values()
        numbers = {name: number for number, name in enumerate(graph.values)}
        outside: list[str] = []

        def numbered(name: str) -> int:
            """Position of a name; those that are not of this graph, and the empty one, follow behind."""
            number = numbers.get(name)
            if number is None:
                number = numbers[name] = len(numbers)
                outside.append(name)
            return number

        return {
            "values": [value.name for value in values],
            "types": [self._word(value.element_type) for value in values],
            "shapes": [self._shapes.number(value.shape, value.shape) for value in values],
            "stored": [number for number, value in enumerate(values) if value.stored],
            "nodes": [node.name for node in graph.nodes],
            "operators": [self._word(node.operator) for node in graph.nodes],
            "domains": [self._word(node.domain) for node in graph.nodes],
            "read_counts": [len(node.inputs) for node in graph.nodes],
            "reads": [numbered(name) for node in graph.nodes for name in node.inputs],
            "given_counts": [len(node.outputs) for node in graph.nodes],
            "gives": [numbered(name) for node in graph.nodes for name in node.outputs],
            "attributes": [self._attributes.number(id(node.attributes), node.attributes) for node in graph.nodes],
            "constants": [
                [number, list(node.constants.items())] for number, node in enumerate(graph.nodes) if node.constants
            ],
            "bodies": [
                [number, {name: self._graph(body) for name, body in node.subgraphs.items()}]
                for number, node in enumerate(graph.nodes)
                if node.subgraphs
            ],
            "outside": outside,
            "inputs": graph.inputs,
            "outputs": graph.outputs,
            "binding": dict(graph.binding),
            "opset": graph.opset,
            "gaps": [[gap.node, gap.operator, gap.reason] for gap in graph.gaps],
        }

    def _word(self, text: str) -> int:
        return self._words.number(text, text)


class _Decoder:
    def __init__(self, data: Any, beside: InferredGraph | None) -> None:
        self._attributes = [dict(entry) for entry in data["attributes"]]
        self._shapes = [_shape(entry) for entry in data["shapes"]]
        self._words = [_text(entry) for entry in data["words"]]
        self._beside = beside

    def graph(self, data: Any, depth: int) -> InferredGraph:
        if depth > MAX_SUBGRAPH_DEPTH + 1:
            raise ValueError("too deep")
        twin = self._beside if depth == 0 else None
        if twin is not None and "nodes" not in data:
            values, nodes = self._values(list(twin.values), data, twin), twin.nodes
        else:
            names = [_text(name) for name in data.pop("values")]
            values = self._values(names, data, twin)
            names += [_text(name) for name in data.pop("outside")]
            nodes = tuple(self._nodes(names, data, depth, () if twin is None else twin.nodes))
        return InferredGraph(
            nodes=nodes,
            values=values,
            inputs=tuple(map(_text, data["inputs"])),
            outputs=tuple(map(_text, data["outputs"])),
            binding={_text(name): int(length) for name, length in data["binding"].items()},
            opset=int(data["opset"]),
            gaps=tuple(Gap(*map(str, entry)) for entry in data["gaps"]),
        )

    def _values(self, names: Sequence[str], data: Any, twin: InferredGraph | None) -> dict[str, Value]:
        known: Mapping[str, Value] = {} if twin is None else twin.values
        stored = set(data["stored"])
        columns = zip(names, data.pop("types"), data.pop("shapes"), strict=True)
        values = {}
        for number, (name, kind, shape) in enumerate(columns):
            value = Value(name, self._words[kind], self._shapes[shape], number in stored)
            other = known.get(name)
            values[name] = other if other is not None and other == value else value
        return values

    def _nodes(self, names: Sequence[str], data: Any, depth: int, twins: Sequence[Node]) -> Iterable[Node]:
        constants = {
            number: {int(position): value for position, value in entries} for number, entries in data.pop("constants")
        }
        bodies = {
            number: {_text(key): self.graph(body, depth + 1) for key, body in entries.items()}
            for number, entries in data.pop("bodies")
        }
        inputs = _parts(names, data.pop("reads"), data.pop("read_counts"))
        outputs = _parts(names, data.pop("gives"), data.pop("given_counts"))
        columns = (data.pop(key) for key in ("nodes", "operators", "domains", "attributes"))
        rows = zip(*columns, inputs, outputs, strict=True)
        for number, (name, operator, domain, attributes, reads, gives) in enumerate(rows):
            node = Node(
                name=_text(name),
                operator=self._words[operator],
                domain=self._words[domain],
                inputs=reads,
                outputs=gives,
                attributes=self._attributes[attributes],
                constants=constants.get(number, _NOTHING),
                subgraphs=bodies.get(number, _NOTHING),
            )
            twin = twins[number] if number < len(twins) else None
            yield twin if twin is not None and twin == node else node


def _parts(names: Sequence[str], numbers: Sequence[int], counts: Sequence[int]) -> Iterator[tuple[str, ...]]:
    """The names that each node reads or gives, out of one list of their positions."""
    if min(counts, default=0) < 0 or sum(counts) != len(numbers):
        raise ValueError("a node")
    start = 0
    for count in counts:
        yield tuple([names[number] for number in numbers[start : start + count]])
        start += count


def _shape(lengths: Any) -> tuple[int, ...] | None:
    if lengths is None:
        return None
    shape = tuple(lengths)
    if len(shape) > MAX_RANK or not all(isinstance(length, int) and length >= 0 for length in shape):
        raise ValueError("a shape")
    return shape


def _text(text: Any) -> str:
    if not isinstance(text, str):
        raise ValueError("a name")
    return text


_NOTHING: Final[Mapping[Any, Any]] = {}
