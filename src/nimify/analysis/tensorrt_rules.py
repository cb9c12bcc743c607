"""Checks of the restrictions that TensorRT's parser has, one function for each kind of rule in the table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from nimify.analysis.graph import InferredGraph, Node, Value
from nimify.analysis.tables.tensorrt import Rule
from nimify.analysis.variation import VaryingAxes

_RNN_ACTIVATIONS: Final[Mapping[str, tuple[str, ...]]] = {
    "RNN": ("Tanh",),
    "GRU": ("Sigmoid", "Tanh"),
    "LSTM": ("Sigmoid", "Tanh", "Tanh"),
}


@dataclass(frozen=True, slots=True)
class Site:
    """A node and what surrounds it.

    Attributes:
        node: The node.
        values: Every value in reach, those of outer graphs included.
        varying: Axes that depend on a free axis of the model.
    """

    node: Node
    values: Mapping[str, Value]
    varying: VaryingAxes

    def input(self, position: int) -> Value | None:
        """The value at an input; `None` when it is omitted or unknown."""
        names = self.node.inputs
        return self.values.get(names[position]) if position < len(names) and names[position] else None

    def has_input(self, position: int) -> bool:
        """Whether an input is given."""
        return position < len(self.node.inputs) and bool(self.node.inputs[position])

    def has_output(self, position: int) -> bool:
        """Whether an output is taken."""
        return position < len(self.node.outputs) and bool(self.node.outputs[position])


def broken(rule: Rule, site: Site) -> bool | None:
    """Whether a node breaks a rule; `None` when that cannot be told.

    So it is for a rule that this version of nimify does not know, and for attributes of a type that no operator has.
    """
    check = _CHECKS.get(rule.check)
    try:
        return None if check is None else check(site, rule.facts)
    except (AttributeError, KeyError, TypeError, ValueError):
        return None


def _constant_input(site: Site, facts: Mapping[str, Any]) -> bool | None:
    position = int(facts["input"])
    if not site.has_input(position) or position in site.node.constants:
        return False
    value = site.input(position)
    return None if value is None else not value.stored


def _zero_constant(site: Site, facts: Mapping[str, Any]) -> bool | None:
    position = int(facts["input"])
    if not site.has_input(position):
        return False
    if position in site.node.constants:
        return any(_flat(site.node.constants[position]))
    value = site.input(position)
    return None if value is None or value.stored else True


def _below(site: Site, facts: Mapping[str, Any]) -> bool | None:
    position = int(facts["input"])
    if position not in site.node.constants:
        return None if site.has_input(position) else False
    return any(number >= facts["limit"] for number in _flat(site.node.constants[position]))


def _attribute_in(site: Site, facts: Mapping[str, Any]) -> bool:
    return site.node.attributes.get(facts["attribute"], facts["default"]) not in facts["values"]


def _input_absent(site: Site, facts: Mapping[str, Any]) -> bool:
    return site.has_input(int(facts["input"]))


def _output_absent(site: Site, facts: Mapping[str, Any]) -> bool:
    return site.has_output(int(facts["output"]))


def _all_ones(site: Site, facts: Mapping[str, Any]) -> bool:
    return any(number != 1 for number in site.node.attributes.get(facts["attribute"]) or ())


def _rank_in(site: Site, facts: Mapping[str, Any]) -> bool | None:
    if not site.has_input(int(facts["input"])):
        return False
    value = site.input(int(facts["input"]))
    return None if value is None or value.shape is None else len(value.shape) not in facts["ranks"]


def _type_in(site: Site, facts: Mapping[str, Any]) -> bool | None:
    if not site.has_input(int(facts["input"])):
        return False
    value = site.input(int(facts["input"]))
    return None if value is None or not value.element_type else value.element_type not in facts["types"]


def _same_activations(site: Site, _: Mapping[str, Any]) -> bool:
    if site.node.attributes.get("direction", "forward") != "bidirectional":
        return False
    default = _RNN_ACTIVATIONS.get(site.node.operator, ()) * 2
    names = [str(name).lower() for name in site.node.attributes.get("activations") or default]
    half = len(names) // 2
    return names[:half] != names[half:]


def _symmetric_pads(site: Site, _: Mapping[str, Any]) -> bool:
    pads = list(site.node.attributes.get("pads") or ())
    half = len(pads) // 2
    return pads[:half] != pads[half:]


def _static_input(site: Site, facts: Mapping[str, Any]) -> bool:
    position = int(facts["input"])
    return site.has_input(position) and site.node.inputs[position] in site.varying


def _static_axis(site: Site, facts: Mapping[str, Any]) -> bool | None:
    value = site.input(int(facts["input"]))
    if value is None or value.shape is None:
        return None
    axis = int(site.node.attributes.get(facts["attribute"], facts["default"]))
    return axis % max(len(value.shape), 1) in site.varying.get(value.name, frozenset())


def _axes_in_order(site: Site, facts: Mapping[str, Any]) -> bool | None:
    axes = site.node.attributes.get(facts["attribute"])
    if not axes:
        return False
    value = site.input(0)
    if value is None or value.shape is None:
        return None
    return [axis % max(len(value.shape), 1) for axis in axes] != list(range(len(value.shape)))


def _axes_given(site: Site, facts: Mapping[str, Any]) -> bool:
    return not site.has_input(int(facts["input"])) and not site.node.attributes.get(facts["attribute"])


def _real_signal(site: Site, facts: Mapping[str, Any]) -> bool | None:
    value = site.input(int(facts["input"]))
    if value is None or value.shape is None:
        return None
    return len(value.shape) > 2 and value.shape[-1] == 2


def _branches(site: Site, _: Mapping[str, Any]) -> bool | None:
    bodies = list(site.node.subgraphs.values())
    if len(bodies) != 2:
        return None
    pairs = list(zip(bodies[0].outputs, bodies[1].outputs, strict=False))
    if any(first == second for first, second in pairs):
        return True
    ranks = [(_rank(bodies[0], first), _rank(bodies[1], second)) for first, second in pairs]
    if any(None in pair for pair in ranks):
        return None
    return any(first != second for first, second in ranks)


def _loop(site: Site, _: Mapping[str, Any]) -> bool | None:
    body = site.node.subgraphs.get("body")
    if body is None:
        return None
    carried = max(len(site.node.inputs) - 2, 0)
    collected = len(body.outputs) - 1 - carried
    if collected > 0 and (not site.has_input(0) or _constant_input(site, {"input": 0})):
        return True
    pairs = list(zip(body.inputs[2:], body.outputs[1 : 1 + carried], strict=False))
    shapes = [(_shape(body, first), _shape(body, second)) for first, second in pairs]
    if any(None not in pair and pair[0] != pair[1] for pair in shapes):
        return True
    return None if any(None in pair for pair in shapes) else False


def _note(_: Site, __: Mapping[str, Any]) -> bool:
    return False


def _shape(graph: InferredGraph, name: str) -> tuple[int, ...] | None:
    value = graph.values.get(name)
    return None if value is None else value.shape


def _rank(graph: InferredGraph, name: str) -> int | None:
    shape = _shape(graph, name)
    return None if shape is None else len(shape)


def _flat(constant: Any) -> list[Any]:
    """The numbers of a constant, however deeply its list is nested."""
    numbers: list[Any] = []
    pending = [constant]
    while pending:
        item = pending.pop()
        if isinstance(item, list | tuple):
            pending += item
        else:
            numbers.append(item)
    return numbers


_CHECKS: Final[Mapping[str, Callable[[Site, Mapping[str, Any]], bool | None]]] = {
    "all_ones": _all_ones,
    "attribute_in": _attribute_in,
    "axes_given": _axes_given,
    "axes_in_order": _axes_in_order,
    "below": _below,
    "branches": _branches,
    "constant_input": _constant_input,
    "input_absent": _input_absent,
    "loop": _loop,
    "note": _note,
    "output_absent": _output_absent,
    "rank_in": _rank_in,
    "real_signal": _real_signal,
    "same_activations": _same_activations,
    "static_axis": _static_axis,
    "static_input": _static_input,
    "symmetric_pads": _symmetric_pads,
    "type_in": _type_in,
    "zero_constant": _zero_constant,
}
KNOWN_CHECKS: Final = frozenset(_CHECKS)
"""Every kind of rule that the table may hold."""
