"""Operations and bytes of single operators are those of formulas derived by hand."""

from __future__ import annotations

from typing import Any

import pytest
from onnx import TensorProto, helper

from nimify.analysis.compute import Compute, estimate_compute
from nimify.analysis.graph import InferredGraph, Node, Value

F = "FLOAT"


def graph_of(node: Node, **shapes: tuple[int, ...] | tuple[str, tuple[int, ...]]) -> InferredGraph:
    """A graph of one node; a value is FLOAT unless its type stands beside its shape."""
    values = {}
    for name, entry in shapes.items():
        typed = bool(entry) and isinstance(entry[0], str)
        element_type, shape = entry if typed else (F, entry)
        values[name] = Value(name, str(element_type), tuple(shape))  # type: ignore[arg-type]  # the union above
    return InferredGraph((node,), values, (), node.outputs, {}, 17)


def node_of(
    operator: str,
    *inputs: str,
    outputs: tuple[str, ...] = ("y",),
    domain: str = "ai.onnx",
    constants: dict[int, Any] | None = None,
    **attributes: Any,
) -> Node:
    return Node("n", operator, domain, inputs, outputs, attributes, constants or {})


def cost(node: Node, **shapes: Any) -> Compute:
    result = estimate_compute(graph_of(node, **shapes))
    assert result.uncounted == ()
    return result


@pytest.mark.parametrize(
    ("x", "w", "y", "macs"),
    [
        pytest.param((1, 3, 224, 224), (64, 3, 7, 7), (1, 64, 112, 112), 64 * 112 * 112 * 3 * 7 * 7, id="strided"),
        pytest.param((2, 8, 10, 10), (16, 8, 3, 3), (2, 16, 10, 10), 2 * 16 * 10 * 10 * 8 * 9, id="plain"),
        pytest.param((1, 8, 10, 10), (16, 2, 3, 3), (1, 16, 8, 8), 16 * 8 * 8 * 2 * 9, id="four groups"),
        pytest.param((1, 32, 56, 56), (32, 1, 3, 3), (1, 32, 56, 56), 32 * 56 * 56 * 9, id="depthwise"),
        pytest.param((1, 4, 20, 20), (6, 4, 3, 3), (1, 6, 16, 16), 6 * 16 * 16 * 4 * 9, id="dilated by two"),
        pytest.param((1, 4, 100), (6, 4, 5), (1, 6, 96), 6 * 96 * 4 * 5, id="one axis"),
        pytest.param((1, 2, 8, 8, 8), (3, 2, 2, 2, 2), (1, 3, 7, 7, 7), 3 * 343 * 2 * 8, id="three axes"),
    ],
)
def test_convolution(x: tuple[int, ...], w: tuple[int, ...], y: tuple[int, ...], macs: int) -> None:
    """Every element of the result takes one multiply-accumulate per tap and channel of its group."""
    result = cost(node_of("Conv", "x", "w"), x=x, w=w, y=y)
    assert (result.matrix_macs, result.total_flops) == (macs, 2 * macs)


def test_transposed_convolution_multiplies_every_input_with_its_filters() -> None:
    """(N, C, H, W) with weights (C, M / group, k, k) takes N C H W M / group k k."""
    result = cost(node_of("ConvTranspose", "x", "w", group=2), x=(1, 8, 5, 5), w=(8, 3, 2, 2), y=(1, 6, 10, 10))
    assert result.matrix_macs == 8 * 5 * 5 * 3 * 4


@pytest.mark.parametrize(
    ("operator", "x", "w", "y", "attributes", "macs"),
    [
        pytest.param("MatMul", (4, 6), (6, 5), (4, 5), {}, 4 * 6 * 5, id="two matrices"),
        pytest.param("MatMul", (7, 1, 4, 6), (3, 6, 5), (7, 3, 4, 5), {}, 7 * 3 * 4 * 6 * 5, id="broadcast batches"),
        pytest.param("MatMul", (6,), (6,), (), {}, 6, id="two vectors"),
        pytest.param("Gemm", (6, 4), (5, 6), (4, 5), {"transA": 1, "transB": 1}, 4 * 6 * 5, id="transposed"),
        pytest.param("Gemm", (4, 6), (6, 5), (4, 5), {}, 4 * 6 * 5, id="gemm"),
    ],
)
def test_matrix_product(operator: str, x: Any, w: Any, y: Any, attributes: dict[str, Any], macs: int) -> None:
    """Rows times columns times what is summed over."""
    result = cost(node_of(operator, "x", "w", **attributes), x=x, w=w, y=y)
    assert (result.matrix_macs, result.total_flops) == (macs, 2 * macs)


def test_quantised_products_count_like_others() -> None:
    """`QLinearConv` and `MatMulInteger` do the same multiply-accumulates on smaller numbers."""
    conv = cost(
        node_of("QLinearConv", "x", "s", "z", "w", "s", "z", "s", "z"),
        x=("UINT8", (1, 3, 8, 8)), w=("INT8", (4, 3, 3, 3)), y=("UINT8", (1, 4, 6, 6)), s=(), z=("UINT8", ()),
    )  # fmt: skip
    product = cost(node_of("MatMulInteger", "x", "w"), x=("UINT8", (2, 8)), w=("INT8", (8, 3)), y=("INT32", (2, 3)))
    assert conv.matrix_macs == 4 * 36 * 27
    assert conv.nodes[0].element_type == "UINT8"
    assert product.matrix_macs == 2 * 8 * 3


@pytest.mark.parametrize(
    ("equation", "x", "w", "y", "macs"),
    [
        ("bij,bjk->bik", (2, 3, 4), (2, 4, 5), (2, 3, 5), 2 * 3 * 4 * 5),
        ("bhid, bhjd -> bhij", (2, 4, 7, 8), (2, 4, 9, 8), (2, 4, 7, 9), 2 * 4 * 7 * 9 * 8),
        ("...ij,jk->...ik", (6, 2, 3), (3, 5), (6, 2, 5), 6 * 2 * 3 * 5),
    ],
)
def test_einsum(equation: str, x: Any, w: Any, y: Any, macs: int) -> None:
    """The product over all axes that the equation names."""
    assert cost(node_of("Einsum", "x", "w", equation=equation), x=x, w=w, y=y).matrix_macs == macs


@pytest.mark.parametrize(("operator", "gates", "per_unit"), [("LSTM", 4, 18), ("GRU", 3, 14), ("RNN", 1, 1)])
@pytest.mark.parametrize("directions", [1, 2])
def test_recurrent_layer(operator: str, gates: int, per_unit: int, directions: int) -> None:
    """Per step, direction and row, each gate is a product of input and of state with its own matrices."""
    steps, batch, width, hidden = 9, 2, 5, 6
    direction = "bidirectional" if directions == 2 else "forward"
    result = cost(
        node_of(operator, "x", "w", "r", hidden_size=hidden, direction=direction),
        x=(steps, batch, width), w=(directions, gates * hidden, width), r=(directions, gates * hidden, hidden),
        y=(steps, directions, batch, hidden),
    )  # fmt: skip
    macs = directions * steps * batch * gates * hidden * (width + hidden)
    assert result.matrix_macs == macs
    assert result.total_flops == 2 * macs + directions * steps * batch * hidden * per_unit


def test_fused_attention_is_its_projections_scores_and_weighted_sums() -> None:
    """`com.microsoft::Attention` projects to query, key and value, and then multiplies twice."""
    batch, sequence, width, heads = 2, 10, 12, 3
    result = cost(
        node_of("Attention", "x", "w", "b", domain="com.microsoft", num_heads=heads),
        x=(batch, sequence, width), w=(width, 3 * width), b=(3 * width,), y=(batch, sequence, width),
    )  # fmt: skip
    scores = batch * heads * sequence * sequence
    macs = batch * sequence * width * 3 * width + 2 * scores * (width // heads)
    assert result.matrix_macs == macs
    assert result.total_flops == 2 * macs + 6 * scores


def test_attention_with_a_cache_looks_at_all_keys() -> None:
    """One new token of a grouped query attention reads the whole cache."""
    result = cost(
        node_of("GroupQueryAttention", "q", "k", "v", "pk", "pv", "l", "t", outputs=("y", "nk", "nv"),
                domain="com.microsoft", num_heads=8, kv_num_heads=2),
        q=(1, 1, 64), k=(1, 1, 16), v=(1, 1, 16), pk=(1, 2, 100, 8), pv=(1, 2, 100, 8), l=("INT32", (1,)),
        t=("INT32", ()), y=(1, 1, 64), nk=(1, 2, 100, 8), nv=(1, 2, 100, 8),
    )  # fmt: skip
    assert result.matrix_macs == 8 * 100 * (8 + 8)


@pytest.mark.parametrize(
    ("node", "shapes", "flops"),
    [
        (node_of("Add", "x", "z"), {"x": (4, 5), "z": (5,), "y": (4, 5)}, 20),
        (node_of("Sigmoid", "x"), {"x": (4, 5), "y": (4, 5)}, 80),
        (node_of("Softmax", "x"), {"x": (4, 5), "y": (4, 5)}, 100),
        (node_of("LayerNormalization", "x", "s"), {"x": (4, 5), "s": (5,), "y": (4, 5)}, 140),
        (node_of("ReduceMean", "x"), {"x": (4, 5), "y": (4, 1)}, 20),
        (node_of("MaxPool", "x", kernel_shape=[3, 3]), {"x": (1, 2, 8, 8), "y": (1, 2, 6, 6)}, 2 * 36 * 9),
        (node_of("GlobalAveragePool", "x"), {"x": (1, 2, 8, 8), "y": (1, 2, 1, 1)}, 128),
        (node_of("Resize", "x", mode="linear"), {"x": (1, 2, 4, 4), "y": (1, 2, 8, 8)}, 2 * 128 * 4),
        (node_of("Sum", "x", "x", "x"), {"x": (4,), "y": (4,)}, 8),
        (node_of("Transpose", "x"), {"x": (4, 5), "y": (5, 4)}, 0),
    ],
    ids=lambda value: value.operator if isinstance(value, Node) else "",
)
def test_other_operators(node: Node, shapes: dict[str, Any], flops: int) -> None:
    """A fixed number of operations per element, and no matrix work."""
    result = cost(node, **shapes)
    assert (result.total_flops, result.matrix_macs) == (flops, 0)


def test_bytes_are_inputs_read_once_and_outputs_written_once() -> None:
    """A product of (4, 6) and (6, 5) moves 4 bytes per element of each matrix."""
    result = cost(node_of("MatMul", "x", "w"), x=(4, 6), w=(6, 5), y=(4, 5))
    node = result.nodes[0]
    assert (node.bytes_read, node.bytes_written) == (4 * (24 + 30), 4 * 20)
    assert result.arithmetic_intensity == result.total_flops / result.bytes


def test_taking_rows_of_a_table_reads_only_these() -> None:
    """A lookup of 3 rows of 8 numbers in a table of 30000 reads 3 rows and the ids."""
    result = cost(node_of("Gather", "t", "i"), t=(30_000, 8), i=("INT64", (3,)), y=(3, 8))
    assert result.nodes[0].bytes_read == 3 * 8 * 4 + 3 * 8
    assert result.nodes[0].bytes_written == 3 * 8 * 4


def test_renaming_moves_nothing() -> None:
    """A reshape costs neither operations nor bytes."""
    result = cost(node_of("Reshape", "x", "s"), x=(4, 5), s=("INT64", (1,)), y=(20,))
    assert (result.total_flops, result.bytes) == (0, 0)


def body_of(node: Node, **shapes: Any) -> InferredGraph:
    return graph_of(node, **shapes)


def test_a_choice_costs_its_larger_branch() -> None:
    """`If` is counted with the branch that takes more, unless its condition is a constant."""
    small = body_of(node_of("Relu", "x", outputs=("a",)), a=(4, 4))
    large = body_of(node_of("MatMul", "x", "x", outputs=("b",)), b=(4, 4))
    branches = {"then_branch": small, "else_branch": large}
    open_choice = Node("if", "If", "ai.onnx", ("c",), ("y",), {}, {}, branches)
    settled = Node("if", "If", "ai.onnx", ("c",), ("y",), {}, {0: [True]}, branches)
    shapes: dict[str, Any] = {"x": (4, 4), "c": ("BOOL", (1,)), "y": (4, 4)}
    assert estimate_compute(graph_of(open_choice, **shapes)).total_flops == 2 * 64
    assert estimate_compute(graph_of(settled, **shapes)).total_flops == 16


@pytest.mark.parametrize(("trips", "times"), [({0: 7}, 7), ({0: [7]}, 7), ({0: (1 << 63) - 1}, 1), ({}, 1)])
def test_a_loop_costs_its_body_as_often_as_it_runs(trips: dict[int, Any], times: int) -> None:
    """The trip count multiplies; one that is unknown or endless counts once."""
    body = body_of(node_of("MatMul", "x", "x", outputs=("b",)), b=(4, 4))
    loop = Node("loop", "Loop", "ai.onnx", ("m", "", "x"), ("y",), {}, trips, {"body": body})
    result = estimate_compute(graph_of(loop, x=(4, 4), y=(4, 4), m=("INT64", ())))
    assert result.matrix_macs == 64 * times
    assert result.by_operator["MatMul"].macs == 64 * times


def test_a_scan_costs_its_body_once_per_step() -> None:
    """The length of what is scanned says how often."""
    body = body_of(node_of("Add", "s", "r", outputs=("b",)), s=(3,), r=(3,), b=(3,))
    scan = Node("scan", "Scan", "ai.onnx", ("z", "x"), ("t", "y"), {"num_scan_inputs": 1}, {}, {"body": body})
    result = estimate_compute(graph_of(scan, z=(3,), x=(11, 3), t=(3,), y=(11, 3)))
    assert result.total_flops == 33


def test_what_cannot_be_counted_is_named() -> None:
    """Unknown operators and unknown shapes are listed, and the rest is counted."""
    nodes = (
        node_of("Strange", "x", outputs=("a",), domain="own"),
        node_of("MatMul", "a", "x", outputs=("b",)),
        node_of("Relu", "x", outputs=("c",)),
    )
    values = {"x": Value("x", F, (2, 2)), "a": Value("a"), "b": Value("b"), "c": Value("c", F, (2, 2))}
    result = estimate_compute(InferredGraph(nodes, values, ("x",), ("c",), {}, 17))
    assert result.uncounted == ("MatMul", "own::Strange")
    assert result.total_flops == 4


def test_trees_cost_the_nodes_that_rows_visit() -> None:
    """A tree of one split and a tree of one leaf are three visited nodes per row."""
    from nimify.analysis.structure import infer_model

    trees = helper.make_node(
        "TreeEnsembleRegressor", ["x"], ["y"], domain="ai.onnx.ml",
        nodes_treeids=[0, 0, 0, 1], nodes_nodeids=[0, 1, 2, 0], nodes_featureids=[0] * 4,
        nodes_modes=["BRANCH_LEQ", "LEAF", "LEAF", "LEAF"], nodes_values=[0.5, 0.0, 0.0, 0.0],
        nodes_truenodeids=[1, 0, 0, 0], nodes_falsenodeids=[2, 0, 0, 0], target_treeids=[0, 0, 1],
        target_nodeids=[1, 2, 0], target_ids=[0, 0, 0], target_weights=[1.0, 2.0, 3.0], n_targets=1,
    )  # fmt: skip
    graph = helper.make_graph(
        [trees], "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 1])],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("ai.onnx.ml", 3), helper.make_opsetid("", 17)])
    assert estimate_compute(infer_model(model, {"batch": 5})).total_flops == 5 * 3


def test_the_most_expensive_operator_comes_first() -> None:
    """Operators are ranked by their operations."""
    nodes = (node_of("Relu", "x", outputs=("a",)), node_of("MatMul", "a", "a", outputs=("y",)))
    values = {name: Value(name, F, (8, 8)) for name in ("x", "a", "y")}
    result = estimate_compute(InferredGraph(nodes, values, ("x",), ("y",), {}, 17))
    assert list(result.by_operator) == ["MatMul", "Relu"]
    assert result.to_dict()["by_operator"]["MatMul"]["nodes"] == 1
