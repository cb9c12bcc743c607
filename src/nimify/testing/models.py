"""Tiny real models for tests, built in memory and the same on every machine.

Each function returns an `onnx.ModelProto` that ONNX Runtime loads; `save` writes one to disk. `ALL` lists the kinds
that a format, engine or target must deal with, `UNSUPPORTED` those that it must refuse in words. Weights come from a
fixed seed, so a model's bytes, and with them its digest, never change between runs.

    import pytest
    from nimify.testing import models

    @pytest.mark.parametrize("kind", models.ALL)
    def test_my_plugin_takes(kind, tmp_path):
        path = models.save(models.ALL[kind](), tmp_path / "model.onnx")
        ...
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import onnx
from onnx import external_data_helper, helper

from nimify.tensors import DATATYPES, Dim
from nimify.testing.encoder import text_encoder
from nimify.testing.graph_builder import GraphBuilder

__all__ = [
    "ALL",
    "DATA_FILE",
    "UNSUPPORTED",
    "baked_batch",
    "bf16",
    "digits_mlp",
    "external_data",
    "fixed_batch",
    "fp16",
    "identity",
    "if_subgraph",
    "image_cnn",
    "loop_subgraph",
    "map_input",
    "optional_output",
    "rows_interact",
    "save",
    "scalar_output",
    "sequence_output",
    "several_outputs",
    "slow",
    "strings",
    "text_encoder",
    "tiny",
]

DATA_FILE: Final = "weights.bin"
"""Where `external_data()` keeps its weights, beside the model file."""


def save(model: onnx.ModelProto, path: Path) -> Path:
    """Write a model, and its external data beside it when it has any; the model itself is left as it is.

    Returns:
        `path`.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    onnx.save_model(copy, str(path))
    return path


def tiny() -> onnx.ModelProto:
    """`y = x + 1` on FP32[batch, 4]: what is left of a request when the model costs nothing."""
    graph = GraphBuilder("tiny")
    x = graph.input("x", "FP32", ["batch", 4])
    graph.output(graph.op("Add", x, graph.constant([1.0]), out="y"), "FP32", ["batch", 4])
    return graph.model()


def identity(datatype: str = "FP32", shape: tuple[Dim, ...] = ("batch", 3)) -> onnx.ModelProto:
    """`y = x` for any datatype of the Open Inference Protocol, e.g. `BOOL`, `UINT64` or `BF16`."""
    graph = GraphBuilder("identity")
    x = graph.input("x", datatype, shape)
    graph.output(graph.op("Identity", x, out="y"), datatype, shape)
    return graph.model()


def digits_mlp() -> onnx.ModelProto:
    """A perceptron on 8 by 8 pictures: FP32[batch, 64] to FP32[batch, 10]; untrained."""
    graph = GraphBuilder("digits_mlp")
    x = graph.input("pixels", "FP32", ["batch", 64])
    hidden = graph.op("Relu", graph.op("Gemm", x, graph.weight(64, 32), graph.weight(32)))
    graph.output(graph.op("Gemm", hidden, graph.weight(32, 10), graph.weight(10), out="logits"), "FP32", ["batch", 10])
    return graph.model()


def image_cnn() -> onnx.ModelProto:
    """A narrow ResNet: FP32[batch, 3, 224, 224] to FP32[batch, 1000], with two residual blocks."""
    graph = GraphBuilder("image_cnn")
    x = graph.input("image", "FP32", ["batch", 3, 224, 224])
    x = graph.op("Conv", x, graph.weight(8, 3, 7, 7), graph.weight(8), strides=[4, 4], pads=[3, 3, 3, 3])
    x = graph.op("MaxPool", graph.op("Relu", x), kernel_shape=[2, 2], strides=[2, 2])
    x = _residual_block(graph, x, channels=(8, 8), stride=1)
    x = _residual_block(graph, x, channels=(8, 16), stride=2)
    pooled = graph.op("Flatten", graph.op("GlobalAveragePool", x), axis=1)
    logits = graph.op("Gemm", pooled, graph.weight(16, 1000), graph.weight(1000), out="logits")
    graph.output(logits, "FP32", ["batch", 1000])
    return graph.model()


def _residual_block(graph: GraphBuilder, x: str, *, channels: tuple[int, int], stride: int) -> str:
    before, after = channels
    inner = graph.op("Conv", x, graph.weight(after, before, 3, 3), strides=[stride, stride], pads=[1, 1, 1, 1])
    inner = graph.op("Conv", graph.op("Relu", inner), graph.weight(after, after, 3, 3), pads=[1, 1, 1, 1])
    shortcut = x if before == after else graph.op("Conv", x, graph.weight(after, before, 1, 1), strides=[stride] * 2)
    return graph.op("Relu", graph.op("Add", inner, shortcut))


def strings() -> onnx.ModelProto:
    """BYTES[batch, 1] words to `code` INT64[batch, 1] (-1 for unknown words) and `echo`, the words themselves."""
    graph = GraphBuilder("strings")
    words = graph.input("word", "BYTES", ["batch", 1])
    code = graph.op(
        "LabelEncoder",
        words,
        out="code",
        domain="ai.onnx.ml",
        keys_strings=["alpha", "beta", "gamma"],
        values_int64s=[0, 1, 2],
        default_int64=-1,
    )
    graph.output(code, "INT64", ["batch", 1])
    graph.output(graph.op("Identity", words, out="echo"), "BYTES", ["batch", 1])
    return graph.model()


def fixed_batch() -> onnx.ModelProto:
    """FP32[1, 4] to FP32[1, 4]: the exporter fixed the batch, so requests cannot be merged."""
    graph = GraphBuilder("fixed_batch")
    x = graph.input("x", "FP32", [1, 4])
    graph.output(graph.op("MatMul", x, graph.weight(4, 4), out="y"), "FP32", [1, 4])
    return graph.model()


def baked_batch() -> onnx.ModelProto:
    """Declares FP32[batch, 4], yet reshapes to [1, 4] inside: it runs at batch 1 and fails at any other."""
    graph = GraphBuilder("baked_batch")
    x = graph.input("x", "FP32", ["batch", 4])
    row = graph.op("Reshape", x, graph.constant([1, 4], "int64"))
    graph.output(graph.op("MatMul", row, graph.weight(4, 4), out="y"), "FP32", ["batch", 4])
    return graph.model()


def rows_interact() -> onnx.ModelProto:
    """Subtracts the mean over the batch: the shapes allow merging requests, the answers do not."""
    graph = GraphBuilder("rows_interact")
    x = graph.input("x", "FP32", ["batch", 4])
    mean = graph.op("ReduceMean", x, axes=[0], keepdims=1)
    graph.output(graph.op("Sub", x, mean, out="y"), "FP32", ["batch", 4])
    return graph.model()


def external_data() -> onnx.ModelProto:
    """FP32[batch, 64] to FP32[batch, 32] with its weights in `DATA_FILE`, which `save` writes beside the model."""
    graph = GraphBuilder("external_data")
    x = graph.input("x", "FP32", ["batch", 64])
    y = graph.op("Gemm", x, graph.weight(64, 32), graph.weight(32), out="y")
    graph.output(y, "FP32", ["batch", 32])
    model = graph.model()
    external_data_helper.convert_model_to_external_data(model, location=DATA_FILE, size_threshold=0)
    return model


def fp16() -> onnx.ModelProto:
    """A matrix product in half precision: FP16[batch, 8] to FP16[batch, 4]."""
    graph = GraphBuilder("fp16")
    x = graph.input("x", "FP16", ["batch", 8])
    graph.output(graph.op("MatMul", x, graph.weight(8, 4, dtype="float16"), out="y"), "FP16", ["batch", 4])
    return graph.model()


def bf16() -> onnx.ModelProto:
    """A matrix product that takes and gives BF16[batch, 8] and computes in FP32, as few CPUs multiply BF16."""
    graph = GraphBuilder("bf16")
    x = graph.op("Cast", graph.input("x", "BF16", ["batch", 8]), to=DATATYPES["FP32"].onnx)
    y = graph.op("Cast", graph.op("MatMul", x, graph.weight(8, 8)), out="y", to=DATATYPES["BF16"].onnx)
    graph.output(y, "BF16", ["batch", 8])
    return graph.model()


def several_outputs() -> onnx.ModelProto:
    """FP32[batch, 4] to `doubled` FP32[batch, 4], `total` FP32[batch, 1] and `best` INT64[batch]."""
    graph = GraphBuilder("several_outputs")
    x = graph.input("x", "FP32", ["batch", 4])
    graph.output(graph.op("Add", x, x, out="doubled"), "FP32", ["batch", 4])
    axes = graph.constant([1], "int64")
    graph.output(graph.op("ReduceSum", x, axes, out="total", keepdims=1), "FP32", ["batch", 1])
    graph.output(graph.op("ArgMax", x, out="best", axis=1, keepdims=0), "INT64", ["batch"])
    return graph.model()


def scalar_output() -> onnx.ModelProto:
    """The sum of FP32[batch, 4] as one number of rank 0."""
    graph = GraphBuilder("scalar_output")
    x = graph.input("x", "FP32", ["batch", 4])
    graph.output(graph.op("ReduceSum", x, out="sum", keepdims=0), "FP32", [])
    return graph.model()


def if_subgraph() -> onnx.ModelProto:
    """FP32[batch, width] to FP32[batch, 1]: the mean of wide rows, the maximum of narrow ones, chosen by `If`."""
    graph = GraphBuilder("if_subgraph")
    x = graph.input("x", "FP32", ["batch", "width"])
    width = graph.op("Gather", graph.op("Shape", x), graph.constant(1, "int64"))
    is_wide = graph.op("Greater", width, graph.constant(4, "int64"))
    mean, maximum = _reduction("ReduceMean", x), _reduction("ReduceMax", x)
    y = graph.op("If", is_wide, out="y", then_branch=mean, else_branch=maximum)
    graph.output(y, "FP32", ["batch", 1])
    return graph.model()


def _reduction(kind: str, x: str) -> onnx.GraphProto:
    branch = GraphBuilder(kind)
    branch.output(branch.op(kind, x, out=f"{kind}_out", axes=[1], keepdims=1), "FP32", ["batch", 1])
    return branch.graph()


def loop_subgraph() -> onnx.ModelProto:
    """FP32[batch, 4], halved and raised by one three times in a `Loop`."""
    return _loop(GraphBuilder("loop_subgraph"), iterations=3)


def slow(iterations: int = 60_000) -> onnx.ModelProto:
    """A model whose run takes noticeable time (some 0.1 s by default) and almost no memory; FP32[batch, 4]."""
    return _loop(GraphBuilder("slow"), iterations=iterations)


def _loop(graph: GraphBuilder, *, iterations: int) -> onnx.ModelProto:
    x = graph.input("x", "FP32", ["batch", 4])
    body = GraphBuilder("body")
    body.input("step", "INT64", [])
    body.input("go_on", "BOOL", [])
    state = body.input("state", "FP32", ["batch", 4])
    body.output(body.op("Identity", "go_on", out="go_on_out"), "BOOL", [])
    halved = body.op("Mul", state, body.constant([0.5]))
    body.output(body.op("Add", halved, body.constant([1.0]), out="state_out"), "FP32", ["batch", 4])
    trips, always = graph.constant(iterations, "int64"), graph.constant(True, "bool")
    graph.output(graph.op("Loop", trips, always, x, out="y", body=body.graph()), "FP32", ["batch", 4])
    return graph.model()


def sequence_output() -> onnx.ModelProto:
    """Gives a sequence of tensors: not supported by any protocol that nimify speaks."""
    graph = GraphBuilder("sequence_output")
    x = graph.input("x", "FP32", ["batch", 4])
    info = helper.make_tensor_sequence_value_info("items", DATATYPES["FP32"].onnx, ["batch", 4])
    graph.op("SequenceConstruct", x, x, out="items")
    graph.raw_output(info)
    return graph.model()


def optional_output() -> onnx.ModelProto:
    """Gives an optional tensor: not supported."""
    graph = GraphBuilder("optional_output")
    x = graph.input("x", "FP32", ["batch", 4])
    tensor = helper.make_tensor_type_proto(DATATYPES["FP32"].onnx, ["batch", 4])
    graph.op("Optional", x, out="maybe")
    graph.raw_output(helper.make_value_info("maybe", helper.make_optional_type_proto(tensor)))
    return graph.model()


def map_input() -> onnx.ModelProto:
    """Takes a map from words to numbers, as some converters of scikit-learn pipelines write: not supported."""
    graph = GraphBuilder("map_input")
    number = helper.make_tensor_type_proto(DATATYPES["FP32"].onnx, [])
    counts = helper.make_map_type_proto(DATATYPES["BYTES"].onnx, number)
    graph.raw_input(helper.make_value_info("counts", counts))
    y = graph.op("DictVectorizer", "counts", out="y", domain="ai.onnx.ml", string_vocabulary=["a", "b"])
    graph.output(y, "FP32", [1, 2])
    return graph.model()


ALL: Final[Mapping[str, Callable[[], onnx.ModelProto]]] = {
    "tiny": tiny,
    "digits": digits_mlp,
    "image": image_cnn,
    "text": text_encoder,
    "strings": strings,
    "fixed-batch": fixed_batch,
    "baked-batch": baked_batch,
    "rows-interact": rows_interact,
    "external-data": external_data,
    "fp16": fp16,
    "bf16": bf16,
    "several-outputs": several_outputs,
    "scalar-output": scalar_output,
    "if": if_subgraph,
    "loop": loop_subgraph,
}
"""Every kind of model that nimify serves, by name."""

UNSUPPORTED: Final[Mapping[str, Callable[[], onnx.ModelProto]]] = {
    "sequence": sequence_output,
    "optional": optional_output,
    "map": map_input,
}
"""Sound models that nimify refuses, by the kind of value that it does not serve."""
