"""From an inferred graph to what one run of it costs."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Iterable, Mapping, MutableMapping
from dataclasses import dataclass, field
from typing import Final, cast

from nimify.analysis.compute.attention import ATTENTION
from nimify.analysis.compute.classic import CLASSIC
from nimify.analysis.compute.cost import Compute, NodeCost, OperatorCost
from nimify.analysis.compute.elementwise import ELEMENTWISE
from nimify.analysis.compute.matrix import MATRIX
from nimify.analysis.compute.recurrent import RECURRENT
from nimify.analysis.compute.view import Rule, Uncountable, View, Work
from nimify.analysis.graph import InferredGraph, Node, Value

_RULES: Final[Mapping[str, Rule]] = {**ELEMENTWISE, **CLASSIC, **RECURRENT, **ATTENTION, **MATRIX}
_DOMAINS: Final = frozenset({"ai.onnx", "ai.onnx.ml", "com.microsoft", "com.microsoft.nchwc"})
_MOVES_NOTHING: Final = frozenset({
    "Constant", "Dropout", "Flatten", "Identity", "Reshape", "Shape", "Size", "Squeeze", "Unsqueeze", "SequenceLength",
    "Optional", "OptionalGetElement", "OptionalHasElement",
})  # fmt: skip
_TAKES_PARTS: Final = frozenset({"Gather", "GatherElements", "GatherND", "Slice", "ArrayFeatureExtractor"})
"""Operators that read as much of their first input as they give."""
_MAX_TRIPS: Final = 1 << 24
_UNLIMITED_TRIPS: Final = 1


@dataclass(slots=True)
class _Tally:
    """What was counted so far, by operator."""

    operators: dict[str, OperatorCost] = field(default_factory=dict)
    uncounted: dict[str, None] = field(default_factory=dict)
    figures: dict[int, int] = field(default_factory=dict)

    def shared(self, figure: int) -> int:
        """The figure as an object that equal ones share: layers repeat, and a large graph has many."""
        return self.figures.setdefault(figure, figure)

    def add(self, cost: NodeCost, *, times: int = 1) -> None:
        before = self.operators.get(cost.operator, OperatorCost())
        self.operators[cost.operator] = OperatorCost(
            before.nodes + 1,
            before.flops + cost.flops * times,
            before.macs + cost.macs * times,
            before.bytes + cost.bytes * times,
        )
        if not cost.counted:
            self.uncounted[cost.operator] = None

    def merge(self, other: _Tally, *, times: int) -> None:
        for name, cost in other.operators.items():
            before = self.operators.get(name, OperatorCost())
            self.operators[name] = OperatorCost(
                before.nodes + cost.nodes,
                before.flops + cost.flops * times,
                before.macs + cost.macs * times,
                before.bytes + cost.bytes * times,
            )
        self.uncounted |= other.uncounted


def estimate_compute(graph: InferredGraph) -> Compute:
    """What one run of a graph costs; see `cost.py` for what is counted as what."""
    tally = _Tally()
    nodes = tuple(_costs(graph, graph.values, tally))
    ranked = sorted(tally.operators.items(), key=lambda item: (-item[1].flops, -item[1].bytes, item[0]))
    return Compute(
        total_flops=sum(cost.flops for cost in nodes),
        matrix_macs=sum(cost.macs for cost in nodes),
        bytes=sum(cost.bytes for cost in nodes),
        by_operator=dict(ranked),
        nodes=nodes,
        uncounted=tuple(sorted(tally.uncounted)),
    )


def _costs(graph: InferredGraph, values: Mapping[str, Value], tally: _Tally) -> Iterable[NodeCost]:
    for node in graph.nodes:
        if node.subgraphs:
            yield _with_bodies(node, values, tally)
        else:
            cost = _single(node, values, tally)
            tally.add(cost)
            yield cost


def _single(node: Node, values: Mapping[str, Value], tally: _Tally) -> NodeCost:
    view = View(node, values)
    rule = _RULES.get(node.operator) if node.domain in _DOMAINS else None
    work, counted = Work(), rule is not None
    if rule is not None:
        try:
            work = rule(view)
        except (Uncountable, ValueError, IndexError, TypeError, ZeroDivisionError):
            counted = False
    read, written = _bytes(view)
    return NodeCost(
        node=node.name,
        operator=node.qualified,
        flops=tally.shared(2 * work.macs + work.other),
        macs=tally.shared(work.macs),
        bytes_read=tally.shared(read),
        bytes_written=tally.shared(written),
        element_type=_element_type(view),
        counted=counted,
    )


def _bytes(view: View) -> tuple[int, int]:
    node = view.node
    if node.operator in _MOVES_NOTHING and node.domain in _DOMAINS:
        return 0, 0
    written = sum(_size(view.values.get(name)) for name in node.outputs if name)
    inputs = [view.input(position) for position in range(len(node.inputs)) if view.has(position)]
    if node.operator in _TAKES_PARTS:
        return min(written, _size(inputs[0] if inputs else None)) + sum(map(_size, inputs[1:])), written
    return sum(map(_size, inputs)), written


def _size(value: Value | None) -> int:
    return 0 if value is None else value.size_bytes or 0


def _element_type(view: View) -> str:
    """The type of the first input; comparisons and casts give another."""
    value = view.input(0) or view.values.get(view.node.outputs[0] if view.node.outputs else "")
    return "" if value is None else value.element_type


def _with_bodies(node: Node, values: Mapping[str, Value], tally: _Tally) -> NodeCost:
    """`If` costs what its larger branch costs, a loop as often what its body costs as it runs."""
    bodies = []
    for name, body in node.subgraphs.items():
        inner = _Tally()
        bodies.append((name, tuple(_costs(body, _within(body, values), inner)), inner))
    if node.operator == "If":
        taken = _taken(node)
        known = [body for body in bodies if body[0] == taken]
        _, costs, inner = known[0] if known else max(bodies, key=lambda body: sum(cost.flops for cost in body[1]))
        times = 1
    else:
        _, costs, inner = bodies[0]
        times = trips(node, values)
    tally.merge(inner, times=times)
    return NodeCost(
        node=node.name,
        operator=node.qualified,
        flops=times * sum(cost.flops for cost in costs),
        macs=times * sum(cost.macs for cost in costs),
        bytes_read=times * sum(cost.bytes_read for cost in costs),
        bytes_written=times * sum(cost.bytes_written for cost in costs),
        element_type=_main_type(costs),
        counted=all(cost.counted for cost in costs),
    )


def _within(body: InferredGraph, values: Mapping[str, Value]) -> ChainMap[str, Value]:
    """What a body sees: its own values, then those around it, which are looked up and not copied."""
    around = values.maps if isinstance(values, ChainMap) else [cast("MutableMapping[str, Value]", values)]
    return ChainMap(dict(body.values), *around)


def _main_type(costs: Iterable[NodeCost]) -> str:
    heaviest = max(costs, key=lambda cost: cost.flops, default=None)
    return "" if heaviest is None else heaviest.element_type


def _taken(node: Node) -> str | None:
    """The branch of an `If` whose condition is a constant."""
    condition = node.constants.get(0)
    while isinstance(condition, list) and len(condition) == 1:
        condition = condition[0]
    return None if not isinstance(condition, bool) else "then_branch" if condition else "else_branch"


def trips(node: Node, values: Mapping[str, Value]) -> int:
    """How often the body of a `Loop` or `Scan` runs; once when nothing tells, as inference has it."""
    if node.operator == "Loop":
        limit = node.constants.get(0)
        while isinstance(limit, list) and len(limit) == 1:
            limit = limit[0]
        return max(limit, 0) if isinstance(limit, int) and limit <= _MAX_TRIPS else _UNLIMITED_TRIPS
    view = View(node, values)
    try:
        axes = view.numbers("scan_input_axes") or [0]
        return view.shape(len(node.inputs) - view.number("num_scan_inputs", 1))[axes[0]]
    except (Uncountable, IndexError):
        return _UNLIMITED_TRIPS
