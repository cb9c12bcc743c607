"""The rest of the zoo: recurrent, audio, tabular, quantised, half precision, control flow, large tables."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from benchmarks.zoo_vision import classified, conv, max_pool, picture
from onnx import helper

from nimify.tensors import DATATYPES
from nimify.testing.graph_builder import GraphBuilder

FLOAT = DATATYPES["FP32"].onnx


def recurrent(kind: str, *, layers: int, features: int = 256, hidden: int = 512, steps: int = 100) -> onnx.ModelProto:
    """A stack of LSTM or GRU or RNN layers over a sequence, batch first, one score a step."""
    gates = {"LSTM": 4, "GRU": 3, "RNN": 1}[kind]
    graph = GraphBuilder(kind.lower())
    x = graph.op("Transpose", graph.input("x", "FP32", ["N", steps, features]), perm=[1, 0, 2])
    for layer in range(layers):
        before = hidden if layer else features
        kernels = graph.weight(1, gates * hidden, before), graph.weight(1, gates * hidden, hidden)
        y = graph.op(kind, x, *kernels, graph.weight(1, 2 * gates * hidden), hidden_size=hidden)
        x = graph.op("Squeeze", y, graph.constant([1], "int64"))
    scores = graph.op("MatMul", x, graph.weight(hidden, 64))
    graph.output(graph.op("Transpose", scores, perm=[1, 0, 2], out="y"), "FP32", ["N", steps, 64])
    return graph.model()


def speech_features(samples: int = 48_000, width: int = 256) -> onnx.ModelProto:
    """wav2vec-like: strided convolutions over the raw wave, seven of them."""
    graph = GraphBuilder("speech_features")
    x, before = graph.input("x", "FP32", ["N", 1, samples]), 1
    random = np.random.default_rng(0)
    for kernel, stride in ((10, 5), (3, 2), (3, 2), (3, 2), (3, 2), (2, 2), (2, 2)):
        weights = graph.constant(random.standard_normal((width, before, kernel)) * 0.05)
        x, before = graph.op("Relu", graph.op("Conv", x, weights, graph.weight(width), strides=[stride])), width
    pooled = graph.op("Flatten", graph.op("GlobalAveragePool", x), axis=1)
    graph.output(graph.op("Gemm", pooled, graph.weight(width, 32), graph.weight(32), out="y"), "FP32", ["N", 32])
    return graph.model()


def spectrogram(samples: int = 64_000) -> onnx.ModelProto:
    """A short-time Fourier transform inside the graph, its power, and a small CNN over it."""
    graph = GraphBuilder("spectrogram")
    wave = graph.op("Unsqueeze", graph.input("x", "FP32", ["N", samples]), graph.constant([2], "int64"))
    step, window = graph.constant(160, "int64"), graph.constant(np.hanning(512))
    complex_parts = graph.op("STFT", wave, step, window, graph.constant(512, "int64"), onesided=1)
    power = graph.op(
        "ReduceSum", graph.op("Mul", complex_parts, complex_parts), graph.constant([3], "int64"), keepdims=0
    )
    x = graph.op(
        "Unsqueeze", graph.op("Log", graph.op("Add", power, graph.constant(1e-6))), graph.constant([1], "int64")
    )
    for before, after in ((1, 32), (32, 64), (64, 128), (128, 256)):
        x = max_pool(graph, conv(graph, x, before, after))
    return classified(graph, x, 256, 50)


def tabular(columns: int = 512, width: int = 2048) -> onnx.ModelProto:
    """A plain perceptron of five layers."""
    graph = GraphBuilder("tabular")
    x, before = graph.input("x", "FP32", ["N", columns]), columns
    for after in (width, width, width, width // 2):
        x = graph.op("Relu", graph.op("Gemm", x, graph.weight(before, after), graph.weight(after)))
        before = after
    graph.output(graph.op("Gemm", x, graph.weight(before, 2), graph.weight(2), out="y"), "FP32", ["N", 2])
    return graph.model()


def weight_heavy() -> onnx.ModelProto:
    """Three layers of 48 MB: nothing but weights, stored as PyTorch does (transB)."""
    graph = GraphBuilder("weight_heavy")
    x = graph.input("x", "FP32", ["N", 3072])
    for _ in range(3):
        x = graph.op("Relu", graph.op("Gemm", x, graph.weight(4096, 3072), graph.weight(4096), transB=1))
        x = graph.op("Slice", x, *(graph.constant([value], "int64") for value in (0, 3072, 1)))
    graph.output(graph.op("Tanh", x, out="y"), "FP32", ["N", 3072])
    return graph.model()


def trees(count: int, depth: int, *, classes: int = 0, features: int = 64) -> onnx.ModelProto:
    """A forest of full binary trees; with `classes`, a classifier, else a regressor."""
    graph = GraphBuilder("trees")
    x = graph.input("x", "FP32", ["N", features])
    shared, leaf_ids = _tree_nodes(count, depth, features)
    leaves = len(leaf_ids)
    tree_ids = np.repeat(np.arange(count), leaves).tolist()
    ids = list(leaf_ids) * count
    weights = np.random.default_rng(1).standard_normal(count * leaves).tolist()
    if classes:
        labels = (np.arange(count * leaves) % classes).tolist()
        names: dict[str, Any] = {
            "class_treeids": tree_ids,
            "class_nodeids": ids,
            "class_ids": labels,
            "class_weights": weights,
        }
        node = helper.make_node(
            "TreeEnsembleClassifier", [x], ["label", "scores"], domain="ai.onnx.ml",
            classlabels_int64s=list(range(classes)), post_transform="NONE", **shared, **names,
        )  # fmt: skip
        graph.output("label", "INT64", ["N"])
        graph.output("scores", "FP32", ["N", classes])
    else:
        names = {"target_treeids": tree_ids, "target_nodeids": ids, "target_weights": weights}
        targets: dict[str, Any] = {"target_ids": [0] * len(ids), "n_targets": 1}
        node = helper.make_node(
            "TreeEnsembleRegressor",
            [x],
            ["y"],
            domain="ai.onnx.ml",
            post_transform="NONE",
            **shared,
            **names,
            **targets,
        )
        graph.output("y", "FP32", ["N", 1])
    model = graph.model()
    model.graph.node.append(node)
    return model


def _tree_nodes(count: int, depth: int, features: int) -> tuple[dict[str, Any], list[int]]:
    inner, size = 2**depth - 1, 2 ** (depth + 1) - 1
    random = np.random.default_rng(0)
    ids = np.arange(size)
    branch = ids < inner
    return {
        "nodes_treeids": np.repeat(np.arange(count), size).tolist(),
        "nodes_nodeids": np.tile(ids, count).tolist(),
        "nodes_featureids": random.integers(0, features, count * size).tolist(),
        "nodes_values": random.standard_normal(count * size).tolist(),
        "nodes_modes": np.where(branch, "BRANCH_LEQ", "LEAF").tolist() * count,
        "nodes_truenodeids": np.tile(np.where(branch, 2 * ids + 1, 0), count).tolist(),
        "nodes_falsenodeids": np.tile(np.where(branch, 2 * ids + 2, 0), count).tolist(),
        "nodes_hitrates": [1.0] * (count * size),
        "nodes_missing_value_tracks_true": [0] * (count * size),
    }, ids[inner:].tolist()


def quantized_cnn(width: int = 64) -> onnx.ModelProto:
    """A CNN with QuantizeLinear and DequantizeLinear around every tensor, as exporters write it."""
    graph = GraphBuilder("quantized_cnn")
    scale, zero, weight_scale, weight_zero = (
        graph.constant(0.05), graph.constant(128, "uint8"), graph.constant(0.01), graph.constant(0, "int8"),
    )  # fmt: skip
    random = np.random.default_rng(0)

    def faked(x: str) -> str:
        return graph.op("DequantizeLinear", graph.op("QuantizeLinear", x, scale, zero), scale, zero)

    x, before = faked(picture(graph)), 3
    for index, after in enumerate((width, width, 2 * width, 2 * width, 4 * width, 4 * width, 8 * width, 8 * width)):
        stored = graph.constant(random.integers(-127, 127, (after, before, 3, 3)), "int8")
        weights = graph.op("DequantizeLinear", stored, weight_scale, weight_zero)
        stride = 2 if index % 2 == 0 else 1
        x = graph.op("Conv", x, weights, strides=[stride] * 2, pads=[1] * 4)
        x, before = faked(graph.op("Relu", x)), after
    return classified(graph, x, before)


def quantized_mlp(width: int = 3072) -> onnx.ModelProto:
    """Dynamic quantisation: DynamicQuantizeLinear and MatMulInteger over INT8 weights."""
    graph = GraphBuilder("quantized_mlp")
    random = np.random.default_rng(0)
    x = graph.input("x", "FP32", ["N", 64, width])
    nodes = []
    for layer in range(6):
        nodes.append(helper.make_node("DynamicQuantizeLinear", [x], [f"q{layer}", f"s{layer}", f"z{layer}"]))
        weights = graph.constant(random.integers(-127, 127, (width, width)), "int8")
        nodes.append(helper.make_node("MatMulInteger", [f"q{layer}", weights, f"z{layer}"], [f"i{layer}"]))
        nodes.append(helper.make_node("Cast", [f"i{layer}"], [f"f{layer}"], to=FLOAT))
        nodes.append(helper.make_node("Mul", [f"f{layer}", f"s{layer}"], [f"m{layer}"]))
        nodes.append(helper.make_node("Tanh", [f"m{layer}"], [f"t{layer}"]))
        x = f"t{layer}"
    graph.output(x, "FP32", ["N", 64, width])
    model = graph.model()
    model.graph.node.extend(nodes)
    return model


def qlinear_cnn(width: int = 96) -> onnx.ModelProto:
    """QLinearConv throughout: activations stay in eight bits."""
    graph = GraphBuilder("qlinear_cnn")
    scale, zero, weight_zero = graph.constant(0.05), graph.constant(128, "uint8"), graph.constant(0, "int8")
    random = np.random.default_rng(0)
    x, before = graph.op("QuantizeLinear", picture(graph), scale, zero), 3
    for index, after in enumerate((width, width, 2 * width, 2 * width, 4 * width, 4 * width, 8 * width, 8 * width)):
        weights = graph.constant(random.integers(-127, 127, (after, before, 3, 3)), "int8")
        constants = (scale, zero, weights, graph.constant(0.01), weight_zero, scale, zero)
        x = graph.op("QLinearConv", x, *constants, strides=[2 - index % 2] * 2, pads=[1] * 4)
        before = after
    return classified(graph, graph.op("DequantizeLinear", x, scale, zero), before)


def half_cnn(width: int = 64) -> onnx.ModelProto:
    """A CNN in FP16 with FP32 at its ends."""
    graph = GraphBuilder("half_cnn")
    x, before = graph.op("Cast", picture(graph), to=DATATYPES["FP16"].onnx), 3
    for index, after in enumerate((width, width, 2 * width, 2 * width, 4 * width, 4 * width, 8 * width, 8 * width)):
        weights, bias = graph.weight(after, before, 3, 3, dtype="float16"), graph.weight(after, dtype="float16")
        x = graph.op("Relu", graph.op("Conv", x, weights, bias, strides=[2 - index % 2] * 2, pads=[1] * 4))
        before = after
    return classified(graph, graph.op("Cast", x, to=FLOAT), before)


def loop(steps: int = 12, width: int = 1024) -> onnx.ModelProto:
    """A Loop that refines its state with a layer of the outer graph, and gathers every state."""
    graph = GraphBuilder("loop")
    x = graph.input("x", "FP32", ["N", 32, width])
    weights = graph.weight(width, width)
    body = GraphBuilder("body")
    body.input("step", "INT64", [])
    body.input("go_on", "BOOL", [])
    body.input("state", "FP32", ["N", 32, width])
    body.output(body.op("Identity", "go_on", out="again"), "BOOL", [])
    inner = body.op("MatMul", "state", weights, out="body_product")
    body.output(body.op("Tanh", inner, out="next_state"), "FP32", ["N", 32, width])
    body.output(body.op("Relu", inner, out="seen"), "FP32", ["N", 32, width])
    trip, on = graph.constant(steps, "int64"), graph.constant(True, "bool")
    node = helper.make_node("Loop", [trip, on, x], ["last", "all"], body=body.graph())
    graph.output("last", "FP32", ["N", 32, width])
    graph.output("all", "FP32", [steps, "N", 32, width])
    model = graph.model()
    model.graph.node.append(node)
    return model


def scan(steps: int = 48, width: int = 1024) -> onnx.ModelProto:
    """A Scan over time: a recurrent layer written by hand."""
    graph = GraphBuilder("scan")
    x = graph.op("Transpose", graph.input("x", "FP32", ["N", steps, width]), perm=[1, 0, 2])
    recurrent_weights, start = graph.weight(width, width), graph.weight(width, width)
    body = GraphBuilder("body")
    body.input("state", "FP32", ["N", width])
    body.input("frame", "FP32", ["N", width])
    product = body.op("Add", body.op("MatMul", "state", recurrent_weights, out="b1"), "frame", out="b2")
    body.output(body.op("Tanh", product, out="next_state"), "FP32", ["N", width])
    body.output(body.op("Relu", product, out="seen"), "FP32", ["N", width])
    projected = graph.op("MatMul", x, start)
    first = graph.op("ReduceMean", projected, axes=[0], keepdims=0)
    node = helper.make_node("Scan", [first, projected], ["last", "all"], body=body.graph(), num_scan_inputs=1)
    graph.output("last", "FP32", ["N", width])
    graph.output("all", "FP32", [steps, "N", width])
    model = graph.model()
    model.graph.node.append(node)
    return model


def choice(width: int = 1536) -> onnx.ModelProto:
    """An If with a layer of its own in each branch; only one of them runs."""
    graph = GraphBuilder("choice")
    x = graph.input("x", "FP32", ["N", 64, width])
    first = graph.op("Relu", graph.op("MatMul", x, graph.weight(width, width)))
    mean = graph.op("ReduceMean", first, keepdims=0)
    branches: dict[str, Any] = {}
    for name, kind in (("then_branch", "Tanh"), ("else_branch", "Sigmoid")):
        branch = GraphBuilder(name)
        product = branch.op("MatMul", first, graph.weight(width, width), out=f"{name}_product")
        branch.output(branch.op(kind, product, out=f"{name}_out"), "FP32", ["N", 64, width])
        branches[name] = branch.graph()
    result = graph.op("If", graph.op("Greater", mean, graph.constant(0.0)), out="y", **branches)
    graph.output(result, "FP32", ["N", 64, width])
    return graph.model()


def recommender(tables: int = 8, rows: int = 60_000, width: int = 64) -> onnx.ModelProto:
    """Large embedding tables, one look-up in each, and a small perceptron."""
    graph = GraphBuilder("recommender")
    ids = graph.input("ids", "INT64", ["N", tables])
    parts = []
    for table in range(tables):
        column = graph.op("Gather", ids, graph.constant(table, "int64"), axis=1)
        parts.append(graph.op("Gather", graph.weight(rows, width), column))
    x = graph.op("Concat", *parts, axis=1)
    x = graph.op("Relu", graph.op("Gemm", x, graph.weight(tables * width, 256), graph.weight(256)))
    graph.output(graph.op("Sigmoid", graph.op("Gemm", x, graph.weight(256, 1)), out="y"), "FP32", ["N", 1])
    return graph.model()


def one_node() -> onnx.ModelProto:
    """What every measurement is compared with."""
    graph = GraphBuilder("one_node")
    graph.output(graph.op("Relu", graph.input("x", "FP32", ["N", 4]), out="y"), "FP32", ["N", 4])
    return graph.model()
