"""Memory estimates: which buffers live when, what the arena keeps, and what weights cost."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nimify.analysis.arena import Arena, packed_bytes
from nimify.analysis.blocked_layout import with_reorders
from nimify.analysis.execution_order import execution_order
from nimify.analysis.graph import InferredGraph, Node, Value
from nimify.analysis.liveness import trace
from nimify.analysis.memory import MemoryEstimate, estimate_gpu_memory, estimate_memory

MIB = 1 << 20


def value(name: str, *shape: int, kind: str = "FLOAT", stored: bool = False) -> Value:
    return Value(name, kind, shape, stored)


def graph_of(
    nodes: list[Node], values: list[Value], inputs: tuple[str, ...], outputs: tuple[str, ...]
) -> InferredGraph:
    return InferredGraph(tuple(nodes), {v.name: v for v in values}, inputs, outputs, {}, 17)


def node(operator: str, inputs: str, outputs: str, *bodies: InferredGraph) -> Node:
    named = {f"body_{index}" if len(bodies) > 1 else "body": body for index, body in enumerate(bodies)}
    return Node(
        f"{operator}_{outputs}", operator, "ai.onnx", tuple(inputs.split()), tuple(outputs.split()), subgraphs=named
    )


def chain(*operators: str, size: int = 1000, kind: str = "FLOAT") -> InferredGraph:
    """`x` through one operator after another."""
    names = ["x", *(f"v{index}" for index in range(len(operators)))]
    nodes = [node(operator, names[index], names[index + 1]) for index, operator in enumerate(operators)]
    return graph_of(nodes, [value(name, 1, size, kind=kind) for name in names], ("x",), (names[-1],))


def peak(graph: InferredGraph) -> int:
    return max(trace(graph).live_bytes())


def estimate(graph: InferredGraph, *, file_bytes: int = 0) -> MemoryEstimate:
    stored = sum(v.size_bytes or 0 for v in graph.values.values() if v.stored)
    return estimate_memory(graph, weights_bytes={"FLOAT": stored}, file_bytes=file_bytes or stored)


def perceptron(batch: int, *, width: int = 512, kind: str = "FLOAT") -> InferredGraph:
    values = [
        value("x", batch, width, kind=kind),
        value("w", width, width, kind=kind, stored=True),
        value("h", batch, width, kind=kind),
        value("y", batch, width, kind=kind),
    ]
    return graph_of([node("MatMul", "x w", "h"), node("Softmax", "h", "y")], values, ("x",), ("y",))


@st.composite
def dags(draw: st.DrawFn) -> InferredGraph:
    """Graphs of nodes that never work in place and whose tensors all differ in size, so that no rule applies."""
    count = draw(st.integers(1, 9))
    sizes = draw(st.lists(st.integers(1, 5000), min_size=count, max_size=count, unique=True))
    nodes = []
    for index in range(count):
        sources = draw(st.lists(st.integers(0, index), min_size=1, max_size=3, unique=True))
        nodes.append(node("Opaque", " ".join(f"v{source}" for source in sources), f"v{index + 1}"))
    values = [value("v0", 1), *(value(f"v{index + 1}", size) for index, size in enumerate(sizes))]
    outputs = draw(st.lists(st.integers(1, count), min_size=1, max_size=2, unique=True))
    return graph_of(nodes, values, ("v0",), tuple(f"v{index}" for index in outputs))


@given(dags())
@settings(max_examples=60, deadline=None)
def test_what_is_live_is_what_a_brute_force_count_finds(graph: InferredGraph) -> None:
    """At each node that runs: its outputs, every earlier result that it or a later one reads, or that is given out."""
    expected = []
    nodes = execution_order(graph.nodes, lambda node: node.inputs)
    for position in range(len(nodes)):
        made = {name for earlier in nodes[: position + 1] for name in earlier.outputs}
        read = {name for later in nodes[position:] for name in later.inputs}
        alive = made & (read | set(graph.outputs) | set(nodes[position].outputs))
        expected.append(sum(graph.values[name].size_bytes or 0 for name in alive))
    assert trace(graph).live_bytes() == expected


def test_elementwise_operators_write_over_their_input() -> None:
    """Three in a row, and only one buffer beside the output, which is the caller's."""
    assert peak(chain("Opaque", "Relu", "Sigmoid", "Opaque")) == 2 * 4000


def test_a_tensor_that_is_needed_later_is_not_written_over() -> None:
    """`h` is read by Relu and once more afterwards."""
    nodes = [node("Opaque", "x", "h"), node("Relu", "h", "r"), node("Opaque", "h r", "y")]
    graph = graph_of(nodes, [value(name, 1000) for name in ("x", "h", "r")] + [value("y", 1)], ("x",), ("y",))
    assert peak(graph) == 2 * 4000 + 4


@pytest.mark.parametrize("operator", ["Reshape", "Flatten", "Squeeze", "Identity"])
def test_another_shape_of_a_tensor_takes_no_memory(operator: str) -> None:
    """Even when the first shape is needed later."""
    nodes = [node("Opaque", "x", "h"), node(operator, "h", "r"), node("Opaque", "h r", "y")]
    graph = graph_of(nodes, [value(name, 1000) for name in ("x", "h", "r")] + [value("y", 1)], ("x",), ("y",))
    assert peak(graph) == 4000 + 4


def test_a_side_branch_waits_for_the_end_and_keeps_its_inputs() -> None:
    """The engine sums up skip connections last, so what they read lives until then: three tensors, not two."""
    nodes = [
        node("Opaque", "x", "a"),
        node("Opaque", "a", "skip_a"),
        node("Opaque", "a", "b"),
        node("Opaque", "b", "skip_b"),
        node("Opaque", "skip_a skip_b", "y"),
    ]
    sizes = {"x": 1, "a": 1000, "skip_a": 10, "b": 1000, "skip_b": 10, "y": 1}
    graph = graph_of(nodes, [value(name, size) for name, size in sizes.items()], ("x",), ("y",))
    assert peak(graph) == 4 * (1000 + 1000 + 10)


@pytest.mark.parametrize(("target", "copies"), [([0, 1000], 2), ([-1, 1000], 4)])
def test_tensors_whose_batch_has_lost_its_name_share_nothing(target: list[int], copies: int) -> None:
    """After a reshape to -1 the engine does not know that two tensors are of one size."""
    nodes = [
        replace(node("Reshape", "x shape", "a"), constants={1: target}),
        node("Opaque", "a", "b"),
        node("Opaque", "b", "c"),
        node("Opaque", "c", "d"),
        node("Opaque", "d", "y"),
    ]
    values = [value(name, 1, 1000) for name in "xabcd"] + [value("shape", 2, kind="INT64", stored=True), value("y", 1)]
    made = trace(graph_of(nodes, values, ("x",), ("y",)))
    assert sum(buffer.size == 4000 for buffer in made.buffers) == copies


def test_inputs_are_never_written_over() -> None:
    """The caller's array stays as it is: the result has memory of its own."""
    assert peak(chain("Relu", "Opaque")) == 2 * 4000


def test_a_sum_that_a_convolution_accumulates_takes_no_memory() -> None:
    """A residual block: the second convolution writes into the shortcut."""
    image, weights = (1, 8, 16, 16), (8, 8, 3, 3)
    nodes = [node("Conv", "x w", "a"), node("Conv", "a w", "b"), node("Conv", "b w", "c"), node("Add", "c a", "d")]
    nodes.append(node("Opaque", "d", "y"))
    values = [value(name, *image) for name in "xabcd"] + [value("w", *weights, stored=True), value("y", 1)]
    in_place = peak(graph_of(nodes, values, ("x",), ("y",)))
    nodes[2] = node("Opaque", "b w", "c")
    assert in_place < peak(graph_of(nodes, values, ("x",), ("y",)))


def test_what_depends_on_weights_alone_is_no_activation() -> None:
    """The engine computes it once, when it loads the model."""
    nodes = [node("Transpose", "w", "t"), node("MatMul", "x t", "y")]
    values = [value("x", 1, 8), value("w", 8, 8, stored=True), value("t", 8, 8), value("y", 1, 8)]
    run = trace(graph_of(nodes, values, ("x",), ("y",)))
    assert [step.node for step in run.steps] == ["MatMul_y"]


def test_a_branch_counts_and_the_larger_one_does() -> None:
    """Of an If, one branch runs; which one is not known."""
    small, large = (
        graph_of([node("Opaque", "h", f"{name}1"), node("Opaque", f"{name}1", f"{name}2")],
                 [value(f"{name}1", size), value(f"{name}2", 1)], (), (f"{name}2",))
        for name, size in (("s", 10), ("l", 5000))
    )  # fmt: skip
    nodes = [node("Opaque", "x", "h"), Node("if", "If", "ai.onnx", ("c",), ("y",), subgraphs={"a": small, "b": large})]
    graph = graph_of(nodes, [value("x", 100), value("c", 1), value("h", 100), value("y", 1)], ("x", "c"), ("y",))
    assert 5000 * 4 + 100 * 4 <= peak(graph) < 5010 * 4 + 120 * 4


def test_a_loop_counts_its_body_and_what_it_gathers() -> None:
    """Iterations give `seen`, which is joined into `all`: both exist at the end."""
    inside = [value(name, 100) for name in ("s", "next", "seen")]
    nodes = [node("Opaque", "s", "next"), node("Opaque", "next", "seen")]
    body = graph_of(nodes, inside, ("i", "go", "s"), ("go", "next", "seen"))
    values = [value("x", 100), value("n", 1), value("c", 1), value("last", 100), value("all", 50, 100)]
    graph = graph_of([node("Loop", "n c x", "last all", body)], values, ("x",), ("last", "all"))
    assert estimate(graph).total_bytes > 2 * 50 * 100 * 4
    assert any(step.node == "Opaque_next" for step in trace(graph).steps)


def test_memory_grows_with_the_batch() -> None:
    """Weights stay, tensors grow."""
    small, large = estimate(perceptron(1)), estimate(perceptron(64))
    assert small.weights_bytes == large.weights_bytes
    assert small.activations_peak_bytes * 64 == large.activations_peak_bytes
    assert small.total_bytes <= large.total_bytes


def test_loading_holds_the_largest_weight_twice() -> None:
    """One is read while the other is copied or packed."""
    found = estimate(perceptron(1, width=1024))
    assert found.weights_bytes == 4 * MIB
    assert 8 * MIB <= found.load_peak_bytes < 8.1 * MIB
    assert found.total_bytes == found.load_peak_bytes


def test_convolution_weights_are_held_in_two_layouts_while_loading() -> None:
    """Beside three copies of the largest, which pass through the change of layout."""
    values = [value("x", 1, 64, 8, 8), value("w", 64, 64, 3, 3, stored=True), value("y", 1, 64, 8, 8)]
    found = estimate(graph_of([node("Conv", "x w", "y")], values, ("x",), ("y",)))
    weight = 64 * 64 * 9 * 4
    assert found.load_peak_bytes >= 5 * weight
    assert found.weights_bytes == weight


def test_half_precision_is_widened_on_the_cpu_and_not_on_a_gpu() -> None:
    """ONNX Runtime has hardly any FP16 kernels for CPUs."""
    graph = perceptron(1, kind="FLOAT16")
    stored = {"FLOAT16": 512 * 512 * 2}
    assert estimate_memory(graph, weights_bytes=stored, file_bytes=0).weights_bytes == 512 * 512 * 4
    assert estimate_gpu_memory(graph, weights_bytes=stored).weights_bytes == 512 * 512 * 2


def test_a_gpu_run_in_half_precision_halves_weights_and_tensors() -> None:
    """Everything else is a fixed assumption."""
    graph = perceptron(8)
    full = estimate_gpu_memory(graph, weights_bytes={"FLOAT": 4000})
    half = estimate_gpu_memory(graph, weights_bytes={"FLOAT": 4000}, half_precision=True)
    assert (half.weights_bytes, half.activations_bytes) == (full.weights_bytes // 2, full.activations_bytes // 2)
    assert full.total_bytes - half.total_bytes == half.weights_bytes + half.activations_bytes


def test_a_tree_ensemble_costs_what_its_attributes_come_to() -> None:
    """It has no weights; the file holds its nodes."""
    tree = Node("trees", "TreeEnsembleRegressor", "ai.onnx.ml", ("x",), ("y",))
    graph = graph_of([tree], [value("x", 1, 8), value("y", 1, 1)], ("x",), ("y",))
    found = estimate(graph, file_bytes=MIB)
    assert found.load_peak_bytes > found.structure_bytes > 3 * MIB


def test_the_timeline_names_the_node_at_the_peak() -> None:
    """One entry for each node that runs, and the most at `peak_node`."""
    found = estimate(perceptron(4))
    assert [name for name, _ in found.timeline] == ["MatMul_h", "Softmax_y"]
    assert max(found.timeline, key=lambda entry: entry[1])[0] == found.peak_node
    assert found.to_dict()["timeline"][0][0] == "MatMul_h"


def test_the_timeline_of_a_long_run_is_bounded_and_keeps_its_peak() -> None:
    """Of each stretch of nodes the one that needs most is left, wherever in it that is."""
    operators = ["Relu"] * 4999
    operators[3001] = "Erf"  # Takes scratch memory.
    found = estimate(chain(*operators))
    assert 1000 <= len(found.timeline) <= 2000
    assert max(found.timeline, key=lambda entry: entry[1]) == (found.peak_node, found.activations_peak_bytes)
    assert found.peak_node.startswith("Erf")


def test_unknown_shapes_count_nothing_and_are_owned_up_to() -> None:
    """An estimate with gaps says that it is not complete."""
    graph = perceptron(4)
    unknown = replace(graph, values={**graph.values, "h": Value("h")}, gaps=(object(),))  # type: ignore[arg-type]
    assert not estimate(unknown).complete
    assert estimate(unknown).activations_peak_bytes < estimate(graph).activations_peak_bytes


def test_leaving_the_blocked_layout_takes_a_copy() -> None:
    """A transposition reads the plain layout; pooling does not mind."""
    values = [value("x", 1, 3, 8, 8), value("w", 16, 3, 3, 3, stored=True), value("c", 1, 16, 8, 8)]
    values += [value("p", 1, 16, 4, 4), value("y", 1, 4, 4, 16)]
    nodes = [node("Conv", "x w", "c"), node("MaxPool", "c", "p"), node("Transpose", "p", "y")]
    graph = with_reorders(graph_of(nodes, values, ("x",), ("y",)))
    assert [each.operator for each in graph.nodes] == ["Conv", "MaxPool", "Reorder", "Transpose"]


def test_the_arena_uses_freed_memory_again() -> None:
    """Ten blocks one after another touch as much as one."""
    arena = Arena()
    for _ in range(10):
        arena.free(arena.allocate(100_000))
    assert arena.touched_bytes == 100_000


def test_the_arena_joins_free_neighbours() -> None:
    """Four quarters of its first megabyte, freed, hold one block of the whole."""
    arena = Arena()
    for address in [arena.allocate(MIB // 4) for _ in range(4)]:
        arena.free(address)
    arena.allocate(MIB)
    assert arena.touched_bytes == MIB


@given(st.lists(st.tuples(st.integers(1, 4 * MIB), st.booleans()), max_size=40))
@settings(max_examples=40, deadline=None)
def test_blocks_of_the_arena_never_overlap(requests: list[tuple[int, bool]]) -> None:
    """Whatever is asked for and given back, two live blocks share no byte."""
    arena, live = Arena(), list[tuple[int, int]]()
    for size, give_back in requests:
        start = arena.allocate(size)
        assert all(start + size <= other or other + length <= start for other, length in live)
        live.append((start, size))
        if give_back:
            arena.free(live.pop(0)[0])
    assert arena.touched_bytes >= sum(size for _, size in live)


@given(st.lists(st.tuples(st.integers(1, 5000), st.integers(0, 9), st.integers(1, 9)), max_size=12))
@settings(max_examples=40, deadline=None)
def test_a_memory_plan_holds_what_is_live_and_no_more_than_all(tensors: list[tuple[int, int, int]]) -> None:
    """Between the largest sum that is live at once and the sum of all."""
    lifetimes = sorted(((size, first, first + length) for size, first, length in tensors), key=lambda entry: entry[1])
    live = max((sum(s for s, first, last in lifetimes if first <= step < last) for step in range(20)), default=0)
    everything = sum(-(-size // 256) * 256 for size, _, _ in lifetimes)
    assert live <= packed_bytes(lifetimes) <= everything


def test_tensors_that_never_meet_share_the_memory_of_a_plan() -> None:
    """Two lifetimes one after the other need the room of one."""
    assert packed_bytes([(4096, 0, 1), (4096, 1, 2)]) == 4096
    assert packed_bytes([(4096, 0, 2), (4096, 1, 2)]) == 8192


def test_sizes_of_a_table_are_told_apart() -> None:
    """The same graph at four batches gives four estimates of activations."""
    sizes = [estimate(perceptron(batch)).activations_peak_bytes for batch in (1, 2, 4, 8)]
    assert all(first < second for first, second in combinations(sizes, 2))
    assert np.diff(sizes).min() > 0
