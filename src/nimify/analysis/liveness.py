"""Which buffers a run needs, from which node to which: the allocation plan of ONNX Runtime, replayed.

Three rules save memory, and all are applied as the engine does: an output may be its input under another shape, may
be written over an input that nobody needs afterwards, and may take the buffer of a dead tensor of the same size.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from nimify.analysis.execution_order import execution_order
from nimify.analysis.graph import InferredGraph, Node, Value
from nimify.analysis.memory_kernels import (
    ALIASES,
    FOLLOWS_CONVOLUTION,
    IN_PLACE,
    SUMS,
    loses_batch,
    resident_bytes,
    scratch_bytes,
)

Kind = tuple[str, tuple[int, ...] | None]


@dataclass(slots=True)
class Buffer:
    """Memory for one tensor after another.

    Attributes:
        size: In bytes.
        first: Step that allocates it.
        last: Last step that needs it.
        given: Whether it is an output of the model, which outlives the run.
        nested: Whether it belongs to a body, which runs without a memory plan.
    """

    size: int
    first: int
    last: int
    given: bool = False
    nested: bool = False


@dataclass(slots=True)
class Step:
    """One node that runs.

    Attributes:
        node: Its name.
        scratch: Sizes of buffers that it needs only while it runs.
    """

    node: str
    scratch: tuple[int, ...] = ()


@dataclass(slots=True)
class Trace:
    """A run: its steps, and the buffers in the order in which they are allocated."""

    steps: list[Step] = field(default_factory=list)
    buffers: list[Buffer] = field(default_factory=list)

    def live_bytes(self) -> list[int]:
        """What is live while each step runs, scratch memory included."""
        changes = [0] * (len(self.steps) + 1)
        for buffer in self.buffers:
            changes[buffer.first] += buffer.size
            changes[(len(self.steps) if buffer.given else buffer.last + 1)] -= buffer.size
        live, total = [], 0
        for step, change in zip(self.steps, changes, strict=False):
            total += change
            live.append(total + sum(step.scratch))
        return live


def folded_values(graph: InferredGraph) -> set[str]:
    """Values that depend on nothing but weights; the engine computes them once, when it loads the model."""
    folded: set[str] = set()
    for node in graph.nodes:
        inputs = [name for name in node.inputs if name]
        known = all(name in folded or _stored(graph.values, name) for name in inputs)
        if inputs and known and not node.subgraphs and node.operator not in {"DequantizeLinear", "QuantizeLinear"}:
            folded.update(node.outputs)
    return folded


def trace(graph: InferredGraph, *, widen_half: bool = True) -> Trace:
    """Replay one run of a graph.

    Args:
        graph: The graph.
        widen_half: Whether FP16 tensors are computed in FP32, as on the CPU.
    """
    result = Trace()
    _Planner(graph, result, owned=True, widen_half=widen_half).run()
    return result


class _Planner:
    """Walks a graph once and gives each output its buffer."""

    def __init__(self, graph: InferredGraph, result: Trace, *, owned: bool, widen_half: bool) -> None:
        self._graph = graph
        self._values = graph.values
        self._result = result
        self._folded = folded_values(graph)
        self._uses = Counter(name for node in graph.nodes for name in _names_used(node))
        self._owned = owned
        self._widen_half = widen_half
        self._outputs = set(graph.outputs) if owned else set()
        self._uses.update(graph.outputs)
        self._buffers: dict[str, Buffer] = {}
        self._pending: dict[int, int] = {}  # uses that are left, by identity of the buffer
        self._dead: dict[Kind, list[Buffer]] = {}
        self._nameless: set[str] = set()
        self._kinds: dict[int, Kind] = {}
        # Who gives and reads a value matters around convolutions only.
        convolved = {name for node in graph.nodes if node.operator == "Conv" for name in node.outputs}
        self._producers = {name: node for node in graph.nodes for name in node.outputs} if convolved else {}
        self._readers: dict[str, list[Node]] = {}
        for node in graph.nodes:
            for name in convolved.intersection(node.inputs):
                self._readers.setdefault(name, []).extend([node] * node.inputs.count(name))

    def run(self) -> None:
        left = [node for node in self._graph.nodes if not all(name in self._folded for name in node.outputs if name)]
        # The engine's order starts with what waits for no input, such as weights that are stored quantised.
        for node in sorted(execution_order(left, _names_used), key=self._waits):
            self._step(node)

    def _waits(self, node: Node) -> bool:
        return not node.inputs or not all(
            name in self._folded or _stored(self._values, name) for name in _names_used(node)
        )

    def _step(self, node: Node) -> None:
        for body in _bodies(node):
            _Planner(body, self._result, owned=False, widen_half=self._widen_half).run()
        index = len(self._result.steps)
        step = Step(node.name, scratch_bytes(node, self._values))
        self._result.steps.append(step)
        if loses_batch(node) or not self._nameless.isdisjoint(node.inputs):
            self._nameless.update(node.outputs)
        for position, name in enumerate(node.outputs):
            if name:
                self._place(node, position, name, index)
        for name in _names_used(node):
            self._release(name, index)
        for name in node.outputs:
            if name and not self._uses[name]:
                self._pending[id(self._buffers[name])] += 1
                self._release(name, index)

    def _place(self, node: Node, position: int, name: str, index: int) -> None:
        value = self._values.get(name, Value(name))
        size = resident_bytes(value) if self._widen_half else value.size_bytes or 0
        kind = (value.element_type, None if name in self._nameless else value.shape)
        given = name in self._outputs
        buffer = None if given else self._shared(node, position, size)
        if buffer is None:
            if not given and kind[1] is not None and self._dead.get(kind):
                buffer = self._dead[kind].pop()
            else:
                buffer = Buffer(size, index, index, given, not self._owned)
                self._kinds[id(buffer)] = kind
                self._result.buffers.append(buffer)
        buffer.last = index
        self._buffers[name] = buffer
        self._pending[id(buffer)] = self._pending.get(id(buffer), 0) + self._uses[name]

    def _shared(self, node: Node, position: int, size: int) -> Buffer | None:
        """The buffer of an input that this output may use too."""
        if position == 0 and node.operator in ALIASES and node.inputs:
            return self._buffers.get(node.inputs[0])
        if position == 0 and (self._in_place(node) or self._follows_convolution(node)):
            return next((buffer for name in node.inputs if (buffer := self._last_use(name, node, size))), None)
        if node.operator == "Conv":
            return self._accumulated(node, size)
        return None

    def _in_place(self, node: Node) -> bool:
        """Whether the node may write over an input; a sum of two tensors of the run gets memory of its own.

        Seen in measurements of residual connections; one that a convolution accumulates into is the exception.
        """
        if node.operator not in IN_PLACE:
            return False
        buffers = {id(self._buffers[name]) for name in node.inputs if name in self._buffers}
        return node.operator not in SUMS or len(buffers) < 2

    def _last_use(self, name: str, node: Node, size: int) -> Buffer | None:
        buffer = self._buffers.get(name)
        if buffer is None or buffer.size != size or buffer.given or node.inputs.count(name) > 1:
            return None
        here = sum(self._buffers.get(used) is buffer for used in _names_used(node))
        return buffer if self._pending[id(buffer)] == here else None

    def _follows_convolution(self, node: Node) -> bool:
        if node.operator not in FOLLOWS_CONVOLUTION or self._uses[node.inputs[0]] != 1:
            return False
        producer = self._producers.get(node.inputs[0])
        return producer is not None and producer.operator == "Conv"

    def _accumulated(self, node: Node, size: int) -> Buffer | None:
        """A convolution whose result is only added to another tensor accumulates into that tensor."""
        readers = self._readers.get(node.outputs[0], [])
        if len(readers) != 1 or readers[0].operator not in {"Add", "Sum"} or len(readers[0].inputs) != 2:
            return None
        other = next((name for name in readers[0].inputs if name != node.outputs[0]), "")
        producer = self._producers.get(other)
        if producer is None or other in node.inputs or other in self._outputs:
            return None
        return self._last_use(other, readers[0], size)

    def _release(self, name: str, index: int) -> None:
        buffer = self._buffers.get(name)
        if buffer is None:
            return
        buffer.last = max(buffer.last, index)
        self._pending[id(buffer)] -= 1
        if not self._pending[id(buffer)] and not buffer.given:
            self._dead.setdefault(self._kinds[id(buffer)], []).append(buffer)


def _bodies(node: Node) -> Iterator[InferredGraph]:
    """Bodies that one run of the node runs: of an If, the branch that needs more."""
    bodies = list(node.subgraphs.values())
    if node.operator == "If" and bodies:
        bodies = [max(bodies, key=_tensor_bytes)]
    yield from bodies


def _tensor_bytes(graph: InferredGraph) -> int:
    """All tensors of a graph and its bodies: which branch is the larger one, without replaying it."""
    own = sum(value.size_bytes or 0 for value in graph.values.values() if not value.stored)
    return own + sum(_tensor_bytes(body) for node in graph.nodes for body in node.subgraphs.values())


def _names_used(node: Node) -> list[str]:
    """Every value that a node reads, those that its bodies read from outside included."""
    names = [name for name in node.inputs if name]
    for body in node.subgraphs.values():
        inner = {name for inside in body.nodes for name in inside.outputs} | set(body.inputs)
        outside = (name for inside in body.nodes for name in _names_used(inside))
        names += dict.fromkeys(name for name in (*outside, *body.outputs) if name not in inner)
    return names


def _stored(values: Mapping[str, Value], name: str) -> bool:
    value = values.get(name)
    return value is not None and value.stored
