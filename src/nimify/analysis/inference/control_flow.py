"""`If`, `Loop` and `Scan`: what their bodies give, and what comes out of all runs of them together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

import onnx

from nimify.analysis.graph import InferredGraph
from nimify.analysis.inference.call import Call, NotInferable
from nimify.analysis.inference.functions import Opsets
from nimify.analysis.inference.kinds import BOOL, INT64, UNKNOWN, Array, Kind, Tensor
from nimify.analysis.inference.scope import Scope

if TYPE_CHECKING:
    from nimify.analysis.inference.walk import Walk, Walked

OPERATORS: Final = frozenset({"If", "Loop", "Scan"})
_MAX_TRIPS: Final = 1 << 24

_TRIPS_UNKNOWN: Final = "how often it runs is not known before; once is counted"
_ENDS_EARLIER: Final = "it may end before its last run; all are counted"
_BRANCHES_DIFFER: Final = "its branches give different shapes; the larger one is counted"
_GROWS: Final = "a value grows from one run of its body to the next; steady growth is assumed"


class Outcome(NamedTuple):
    """What a node with bodies gives.

    Attributes:
        kinds: One per output.
        arrays: Content of outputs, where known.
        subgraphs: The bodies, by attribute.
        reason: Why this is an assumption; empty when it is certain.
    """

    kinds: Sequence[Kind]
    arrays: Sequence[Array | None]
    subgraphs: Mapping[str, InferredGraph]
    reason: str


class _Bodies:
    """Walks the bodies of one node."""

    def __init__(self, walk: Walk, node: onnx.NodeProto, opsets: Opsets, scope: Scope, depth: int) -> None:
        self._walk = walk
        self._graphs = {attribute.name: attribute.g for attribute in node.attribute if attribute.HasField("g")}
        self._opsets, self._scope, self._depth = opsets, scope, depth

    def walk(self, name: str, inputs: Sequence[tuple[Kind, Array | None]]) -> Walked:
        """Infer the body of that name.

        Raises:
            NotInferable: There is none.
        """
        if name not in self._graphs:
            raise NotInferable(f"it has no {name}")
        return self._walk.graph(self._graphs[name], inputs, self._opsets, outer=self._scope, depth=self._depth)


def infer(walk: Walk, node: onnx.NodeProto, call: Call, opsets: Opsets, *, scope: Scope, depth: int) -> Outcome:
    """What an `If`, `Loop` or `Scan` gives.

    Raises:
        NotInferable: It is not what the operator asks for.
        ModelError: A body makes no sense.
    """
    bodies = _Bodies(walk, node, opsets, scope, depth)
    return {"If": _if, "Loop": _loop, "Scan": _scan}[node.op_type](bodies, call)


def _if(bodies: _Bodies, call: Call) -> Outcome:
    taken, other = bodies.walk("then_branch", ()), bodies.walk("else_branch", ())
    subgraphs = {"then_branch": taken.graph, "else_branch": other.graph}
    condition = call.array(0)
    if condition is not None and condition.size == 1:
        chosen = taken if bool(condition.item()) else other
        return Outcome(chosen.outputs, chosen.arrays, subgraphs, "")
    kinds = [_larger(one, two) for one, two in zip(taken.outputs, other.outputs, strict=False)]
    differ = any(one != two for one, two in zip(taken.outputs, other.outputs, strict=False))
    return Outcome(kinds, (), subgraphs, _BRANCHES_DIFFER if differ else "")


def _larger(one: Kind, other: Kind) -> Kind:
    if not isinstance(one, Tensor) or not isinstance(other, Tensor):
        return one if not isinstance(one, Tensor) else other
    if one.elements is None or other.elements is None:
        return UNKNOWN if one.elements is None and other.elements is None else max(one, other, key=_known_elements)
    return one if one.elements >= other.elements else other


def _known_elements(kind: Tensor) -> int:
    return -1 if kind.elements is None else kind.elements


def _loop(bodies: _Bodies, call: Call) -> Outcome:
    limit, condition = call.array(0), call.array(1)
    trips = int(limit.item()) if limit is not None and limit.size == 1 else None
    states = [kind or UNKNOWN for kind in call.inputs[2:]]
    first = _iteration(bodies, states, condition)
    # Exporters write "for ever" as the largest number.
    count, reason = (1, _TRIPS_UNKNOWN) if trips is None or trips > _MAX_TRIPS else (max(trips, 0), "")
    if not reason and not _runs_out(first, call, condition):
        reason = _ENDS_EARLIER
    carried, each = first.outputs[1 : 1 + len(states)], first.outputs[1 + len(states) :]
    finals = [_after(before, after, count) for before, after in zip(states, carried, strict=False)]
    walked = first
    if list(carried) != states:
        reason = reason or _GROWS
        last = [_after(before, after, max(count - 1, 0)) for before, after in zip(states, carried, strict=False)]
        walked = _iteration(bodies, last, condition)
        each = walked.outputs[1 + len(states) :]
    stacked = [_stacked(kind, count) for kind in each]
    return Outcome([*finals, *stacked], (), {"body": walked.graph}, reason)


def _iteration(bodies: _Bodies, states: Sequence[Kind], condition: Array | None) -> Walked:
    inputs: list[tuple[Kind, Array | None]] = [(Tensor(INT64, ()), None), (Tensor(BOOL, ()), condition)]
    return bodies.walk("body", [*inputs, *((kind, None) for kind in states)])


def _runs_out(body: Walked, call: Call, condition: Array | None) -> bool:
    """Whether nothing but the count ends the loop."""
    if not call.has(1):
        return True
    going = body.arrays[0] if body.arrays else None
    return all(array is not None and array.size == 1 and bool(array.item()) for array in (condition, going))


def _after(before: Kind, after: Kind, count: int) -> Kind:
    """A carried value after all runs, if each adds as much as the first one."""
    if not isinstance(before, Tensor) or not isinstance(after, Tensor) or count == 0:
        return before if count == 0 else after
    if before.shape is None or after.shape is None or len(before.shape) != len(after.shape):
        return after
    grown = tuple(old + (new - old) * count for old, new in zip(before.shape, after.shape, strict=True))
    return Tensor(after.element_type, grown if min(grown, default=0) >= 0 else after.shape)


def _stacked(kind: Kind, count: int) -> Kind:
    if not isinstance(kind, Tensor) or kind.shape is None:
        return UNKNOWN
    return Tensor(kind.element_type, (count, *kind.shape))


def _scan(bodies: _Bodies, call: Call) -> Outcome:
    taken = call.number("num_scan_inputs")
    states, scanned = list(call.inputs[:-taken]), [call.shape(len(call.inputs) - taken + i) for i in range(taken)]
    axes = call.numbers("scan_input_axes", [0] * taken)
    parts: list[tuple[Kind, Array | None]] = []
    lengths = set()
    for index, shape in enumerate(scanned):
        axis = axes[index] % len(shape)
        lengths.add(shape[axis])
        element_type = call.tensor(len(call.inputs) - taken + index).element_type
        parts.append((Tensor(element_type, (*shape[:axis], *shape[axis + 1 :])), None))
    if len(lengths) != 1:
        raise NotInferable("the inputs that it scans differ in length")
    length = lengths.pop()
    walked = bodies.walk("body", [*((kind or UNKNOWN, None) for kind in states), *parts])
    carried, each = walked.outputs[: len(states)], walked.outputs[len(states) :]
    places = call.numbers("scan_output_axes", [0] * len(each))
    stacked = [_inserted(kind, length, place) for kind, place in zip(each, places, strict=True)]
    return Outcome([*carried, *stacked], (), {"body": walked.graph}, "")


def _inserted(kind: Kind, length: int, place: int) -> Kind:
    if not isinstance(kind, Tensor) or kind.shape is None:
        return UNKNOWN
    place %= len(kind.shape) + 1
    return Tensor(kind.element_type, (*kind.shape[:place], length, *kind.shape[place:]))
