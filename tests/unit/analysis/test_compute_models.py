"""Whole architectures cost what their papers and libraries publish."""

from __future__ import annotations

from pathlib import Path

import onnx
import onnxruntime as ort
import pytest

from nimify.analysis.compute import Compute, estimate_compute
from nimify.analysis.structure import infer_in_process, infer_model
from nimify.testing import models
from nimify.testing.graph_builder import GraphBuilder

GIGA = 10**9


class HollowBuilder(GraphBuilder):
    """A builder whose weights have a type and a shape and no content, so that large models cost nothing."""

    def weight(self, *shape: int, dtype: str = "float32") -> str:
        assert dtype == "float32"
        name = f"weight_{len(self._initializers)}"
        self._initializers.append(onnx.TensorProto(name=name, dims=shape, data_type=onnx.TensorProto.FLOAT))
        return name


def convolution(
    graph: GraphBuilder, x: str, before: int, after: int, kernel: int, *, stride: int = 1, group: int = 1
) -> str:
    """A convolution that keeps the size, with its folded normalisation as bias."""
    pad = kernel // 2
    weight, bias = graph.weight(after, before // group, kernel, kernel), graph.weight(after)
    return graph.op("Conv", x, weight, bias, strides=[stride] * 2, pads=[pad] * 4, group=group)


def resnet_50() -> onnx.ModelProto:
    """ResNet-50 with the stride in the 3 by 3 convolution, as libraries have it today."""
    graph = HollowBuilder("resnet_50")
    x = graph.input("image", "FP32", ["batch", 3, 224, 224])
    x = graph.op("Relu", convolution(graph, x, 3, 64, 7, stride=2))
    x = graph.op("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    before = 64
    for stage, blocks in enumerate((3, 4, 6, 3)):
        width = 64 << stage
        for block in range(blocks):
            stride = 2 if stage > 0 and block == 0 else 1
            x = _bottleneck(graph, x, before, width, stride)
            before = 4 * width
    pooled = graph.op("Flatten", graph.op("GlobalAveragePool", x), axis=1)
    graph.output(graph.op("Gemm", pooled, graph.weight(2048, 1000), out="logits"), "FP32", ["batch", 1000])
    return graph.model()


def _bottleneck(graph: GraphBuilder, x: str, before: int, width: int, stride: int) -> str:
    inner = graph.op("Relu", convolution(graph, x, before, width, 1))
    inner = graph.op("Relu", convolution(graph, inner, width, width, 3, stride=stride))
    inner = convolution(graph, inner, width, 4 * width, 1)
    shortcut = x if before == 4 * width else convolution(graph, x, before, 4 * width, 1, stride=stride)
    return graph.op("Relu", graph.op("Add", inner, shortcut))


def mobilenet_v2() -> onnx.ModelProto:
    """MobileNetV2 of width 1: a stem, 17 inverted residuals, a head."""
    graph = HollowBuilder("mobilenet_v2")
    x = graph.input("image", "FP32", ["batch", 3, 224, 224])
    x = graph.op("Clip", convolution(graph, x, 3, 32, 3, stride=2))
    before = 32
    for expansion, after, blocks, first_stride in (
        (1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1),
    ):  # fmt: skip
        for block in range(blocks):
            stride = first_stride if block == 0 else 1
            x = _inverted_residual(graph, x, before, after, expansion, stride)
            before = after
    x = graph.op("Clip", convolution(graph, x, 320, 1280, 1))
    pooled = graph.op("Flatten", graph.op("GlobalAveragePool", x), axis=1)
    graph.output(graph.op("Gemm", pooled, graph.weight(1280, 1000), out="logits"), "FP32", ["batch", 1000])
    return graph.model()


def _inverted_residual(graph: GraphBuilder, x: str, before: int, after: int, expansion: int, stride: int) -> str:
    hidden = before * expansion
    inner = x if expansion == 1 else graph.op("Clip", convolution(graph, x, before, hidden, 1))
    inner = graph.op("Clip", convolution(graph, inner, hidden, hidden, 3, stride=stride, group=hidden))
    inner = convolution(graph, inner, hidden, after, 1)
    return graph.op("Add", x, inner) if stride == 1 and before == after else inner


def bert_base() -> onnx.ModelProto:
    """BERT-base: 12 layers of width 768 with 12 heads, and the pooler."""
    width, heads = 768, 12
    graph = HollowBuilder("bert_base")
    ids = graph.input("input_ids", "INT64", ["batch", "sequence"])
    x = graph.op("Gather", graph.weight(30_522, width), ids)
    split, join = graph.constant([0, 0, heads, width // heads], "int64"), graph.constant([0, 0, width], "int64")
    for _ in range(12):
        x = _encoder_layer(graph, x, width, split, join)
    first = graph.op("Gather", x, graph.constant(0, "int64"), axis=1)
    pooled = graph.op("Tanh", graph.op("Gemm", first, graph.weight(width, width)), out="pooled")
    graph.output(pooled, "FP32", ["batch", width])
    return graph.model()


def _encoder_layer(graph: GraphBuilder, x: str, width: int, split: str, join: str) -> str:
    def projected() -> str:
        return graph.op("Reshape", graph.op("MatMul", x, graph.weight(width, width)), split)

    query = graph.op("Transpose", projected(), perm=[0, 2, 1, 3])
    key = graph.op("Transpose", projected(), perm=[0, 2, 3, 1])
    value = graph.op("Transpose", projected(), perm=[0, 2, 1, 3])
    weights = graph.op("Softmax", graph.op("MatMul", query, key), axis=-1)
    context = graph.op("Transpose", graph.op("MatMul", weights, value), perm=[0, 2, 1, 3])
    attended = graph.op("MatMul", graph.op("Reshape", context, join), graph.weight(width, width))
    x = graph.op("LayerNormalization", graph.op("Add", x, attended), graph.weight(width))
    hidden = graph.op("Relu", graph.op("MatMul", x, graph.weight(width, 4 * width)))
    outcome = graph.op("MatMul", hidden, graph.weight(4 * width, width))
    return graph.op("LayerNormalization", graph.op("Add", x, outcome), graph.weight(width))


def cost(model: onnx.ModelProto, **binding: int) -> Compute:
    graph = infer_model(model, binding)
    assert graph.gaps == ()
    result = estimate_compute(graph)
    assert result.uncounted == ()
    return result


@pytest.mark.parametrize(
    ("model", "published_gmacs"),
    [(resnet_50, 4.1), (mobilenet_v2, 0.30), (bert_base, 11.2)],
    ids=["resnet_50", "mobilenet_v2", "bert_base"],
)
def test_matrix_work_is_what_is_published(model: object, published_gmacs: float) -> None:
    """The count lies within 2 % of the published figure."""
    assert callable(model)
    macs = cost(model(), batch=1, sequence=128).matrix_macs
    assert macs == pytest.approx(published_gmacs * GIGA, rel=0.02)


def test_bert_is_exactly_its_formula() -> None:
    """Four projections, two products of attention and two of the feed-forward part per layer, and the pooler."""
    sequence, width = 128, 768
    layer = 4 * sequence * width**2 + 2 * sequence**2 * width + 2 * sequence * width * 4 * width
    assert cost(bert_base(), batch=1, sequence=sequence).matrix_macs == 12 * layer + width**2


def test_work_grows_with_the_batch() -> None:
    """Eight rows take eight times the operations of one, and fewer than eight times the bytes."""
    one, eight = cost(resnet_50(), batch=1), cost(resnet_50(), batch=8)
    assert eight.total_flops == 8 * one.total_flops
    assert one.bytes < eight.bytes < 8 * one.bytes


@pytest.mark.parametrize("level", ["ORT_ENABLE_EXTENDED", "ORT_ENABLE_ALL"])
def test_what_the_engine_makes_of_a_model_costs_the_same(level: str, tmp_path: Path) -> None:
    """A network that ONNX Runtime optimised and saved has the same outputs and at least the same matrix work."""
    original = models.save(models.image_cnn(), tmp_path / "model.onnx")
    optimised = tmp_path / "optimised.onnx"
    options = ort.SessionOptions()
    options.graph_optimization_level = getattr(ort.GraphOptimizationLevel, level)
    options.optimized_model_filepath = str(optimised)
    options.log_severity_level = 4
    ort.InferenceSession(str(original), options, providers=["CPUExecutionProvider"])
    (before,), (after,) = infer_in_process(original, {"batch": 2}), infer_in_process(optimised, {"batch": 2})
    assert {node.domain for node in after.nodes} > {"ai.onnx"}
    assert after.gaps == ()
    assert after.values["logits"] == before.values["logits"]
    one, other = estimate_compute(before).matrix_macs, estimate_compute(after).matrix_macs
    # The blocked layout pads 3 channels to a block.
    assert one <= other <= (6 * one if level == "ORT_ENABLE_ALL" else one)
