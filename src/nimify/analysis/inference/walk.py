"""Walks a graph node by node and finds the type and shape of every value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from sys import intern
from typing import Any, Final, NamedTuple

import onnx

from nimify.analysis.graph import InferredGraph, Node
from nimify.analysis.inference import control_flow
from nimify.analysis.inference.attributes import AttributeReader, plain_attributes
from nimify.analysis.inference.call import Call, NotInferable
from nimify.analysis.inference.constants import small_constants
from nimify.analysis.inference.control_flow import Outcome
from nimify.analysis.inference.functions import Inliner, Opsets
from nimify.analysis.inference.kinds import Array, Kind, Tensor
from nimify.analysis.inference.level import Level
from nimify.analysis.inference.operators import OperatorInference
from nimify.analysis.inference.order import ordered
from nimify.analysis.inference.scope import Scope
from nimify.errors import ModelError, UnsafeModel, one_line, shortened
from nimify.formats.limits import MAX_SUBGRAPH_DEPTH
from nimify.formats.onnx_graph import STANDARD_DOMAIN, domain_of

MAX_VISITS: Final = 2_000_000
"""Nodes that are looked at, those in bodies of loops once per look."""

_MISBEHAVIOUR: Final = (IndexError, ValueError, TypeError, KeyError, AttributeError, ArithmeticError, RecursionError)
"""What a rule runs into when a node's attributes or inputs are not what its operator takes."""


_NOTHING: Final[Mapping[Any, Any]] = {}


class Walked(NamedTuple):
    """A graph that was walked, and what is known of its outputs.

    Attributes:
        graph: With every value.
        outputs: One per output.
        arrays: Their content, where it is known.
    """

    graph: InferredGraph
    outputs: tuple[Kind, ...]
    arrays: tuple[Array | None, ...]


class Walk:
    """One inference of a whole model at one binding.

    Args:
        model: The model, without its weights.
        source: The file's name, for messages.
        binding: Lengths of free axes, by name.
    """

    def __init__(self, model: onnx.ModelProto, source: str, binding: Mapping[str, int]) -> None:
        self._source = source
        self._binding = binding
        self._inliner = Inliner(model.functions, source)
        self._operators = OperatorInference()
        self._attributes = AttributeReader()
        self._visits = 0

    def graph(
        self,
        graph: onnx.GraphProto,
        inputs: Sequence[tuple[Kind, Array | None]],
        opsets: Opsets,
        *,
        outer: Scope | None = None,
        depth: int = 0,
    ) -> Walked:
        """Infer one graph, given what its inputs are.

        Raises:
            NotInferable: It takes another number of inputs.
            ModelError: The graph makes no sense: a circle, a value given twice or never.
            UnsafeModel: It breaks a limit.
        """
        if depth > MAX_SUBGRAPH_DEPTH:
            raise UnsafeModel(self._source, f"it nests more than {MAX_SUBGRAPH_DEPTH} subgraphs.")
        scope = Scope(outer)
        names = self._enter(graph, inputs, scope)
        level = Level(graph, scope, self._binding, depth)
        inlined = self._inliner.expand(graph.node, opsets)
        sequence = ordered([one.node for one in inlined], frozenset(scope.kinds), scope.sees, self._source)
        # Each is let go after its visit: what protobuf keeps of a node that was looked at adds up.
        waiting = dict(enumerate(inlined))
        del inlined
        for position in sequence:
            one = waiting.pop(position)
            self._visit(one.node, one.opsets, position, level)
        outputs = tuple(info.name for info in graph.output)
        for name in outputs:
            if not scope.sees(name):
                raise ModelError(self._source, f"nothing in the graph gives its output '{shortened(name)}'.")
        inferred = InferredGraph(
            nodes=tuple(level.nodes),
            values=level.values(),
            inputs=names,
            outputs=outputs,
            binding=self._binding if outer is None else {},
            opset=opsets.get(STANDARD_DOMAIN, 0),
            gaps=tuple(level.gaps),
        )
        return Walked(inferred, tuple(map(scope.kind, outputs)), tuple(map(scope.array, outputs)))

    def _enter(
        self, graph: onnx.GraphProto, inputs: Sequence[tuple[Kind, Array | None]], scope: Scope
    ) -> tuple[str, ...]:
        """Define weights and inputs; the names of the inputs that are none of the weights."""
        for tensor in graph.initializer:
            self._check_new(tensor.name, scope)
            scope.store(tensor.name, tensor)
        for sparse in graph.sparse_initializer:
            self._check_new(sparse.values.name, scope)
            scope.define(sparse.values.name, Tensor(sparse.values.data_type, tuple(sparse.dims)))
            scope.stored.add(sparse.values.name)
        free = [info.name for info in graph.input if info.name not in scope.stored]
        if len(free) != len(inputs):
            raise NotInferable(f"its body takes {len(free)} values, and it gives {len(inputs)}")
        for name, (kind, array) in zip(free, inputs, strict=True):
            self._check_new(name, scope)
            scope.define(name, kind, array)
        return tuple(free)

    def _visit(self, node: onnx.NodeProto, opsets: Opsets, position: int, level: Level) -> None:
        inputs, outputs = self._names(node)
        call = self._call(node, inputs, len(outputs), level.scope)
        label = (node.name if node.name.isprintable() else one_line(node.name)) or f"{node.op_type}_{position}"
        found = self._outcome(node, call, opsets, level)
        complete = level.define(node, outputs, found.kinds, found.arrays)
        if found.kinds and found.reason:  # An assumption.
            level.note(label, node.op_type, found.reason)
        elif not complete and not _waits(call):
            level.note(label, node.op_type, found.reason or "its shape is not known before it runs")
        for body in found.subgraphs.values():
            level.add_gaps(body.gaps)
        level.nodes.append(
            Node(
                name=label,
                operator=node.op_type,
                domain=call.domain,
                inputs=inputs,
                outputs=outputs,
                attributes=plain_attributes(node.op_type, call.attributes),
                constants=dict(small_constants(call)) or _NOTHING,
                subgraphs=found.subgraphs or _NOTHING,
            )
        )

    def _call(self, node: onnx.NodeProto, names: Sequence[str], outputs: int, scope: Scope) -> Call:
        attributes, fingerprint = self._attributes.read(node)
        return Call(
            operator=node.op_type,
            domain=domain_of(node.domain),
            attributes=attributes,
            inputs=[scope.kind(name) if name else None for name in names],
            array=lambda index: scope.array(names[index]) if index < len(names) and names[index] else None,
            outputs=outputs,
            fingerprint=fingerprint,
        )

    def _outcome(self, node: onnx.NodeProto, call: Call, opsets: Opsets, level: Level) -> Outcome:
        try:
            if call.domain == STANDARD_DOMAIN and node.op_type in control_flow.OPERATORS:
                return control_flow.infer(self, node, call, opsets, scope=level.scope, depth=level.depth + 1)
            kinds, arrays, reason = self._operators.outputs(node, call, opsets)
            return Outcome(kinds, arrays, {}, reason)
        except NotInferable as error:
            return Outcome((), (), {}, str(error))
        except _MISBEHAVIOUR:
            return Outcome((), (), {}, "its attributes or inputs are not what its operator takes")

    def _names(self, node: onnx.NodeProto) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """What a node reads and gives; whoever names a value shares one text."""
        self._visits += 1
        if self._visits > MAX_VISITS:
            raise UnsafeModel(self._source, f"its loops unfold to more than {MAX_VISITS} nodes.")
        if not all(isinstance(text, str) for text in (node.name, node.op_type)):
            raise self._not_text()
        try:
            return tuple(map(intern, node.input)), tuple(map(intern, node.output))
        except TypeError:  # Bytes.
            raise self._not_text() from None

    def _check_new(self, name: object, scope: Scope) -> None:
        if not isinstance(name, str):
            raise self._not_text()
        if name in scope.kinds:
            raise ModelError(self._source, f"two parts of its graph give the value '{shortened(name)}'.")

    def _not_text(self) -> ModelError:
        # protobuf hands over what is not UTF-8 as bytes, without a word.
        return ModelError(
            self._source, "it is damaged: a name in it is not UTF-8 text.", remedy="Copy or export it again."
        )


def _waits(call: Call) -> bool:
    """Whether an input is unknown, so that what follows is no news."""
    return any(isinstance(kind, Tensor) and kind.shape is None for kind in call.inputs)
