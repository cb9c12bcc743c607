"""Vision models of the zoo: the layers and sizes of known architectures, with random weights."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx

from nimify.testing.graph_builder import GraphBuilder

IMAGE_SIZE = 224


def conv(
    graph: GraphBuilder,
    x: str,
    before: int,
    after: int,
    *,
    kernel: int = 3,
    stride: int = 1,
    group: int = 1,
    activation: str = "Relu",
) -> str:
    """A convolution that keeps the size, and what follows it; an empty `activation` leaves that out."""
    weights, bias = graph.weight(after, before // group, kernel, kernel), graph.weight(after)
    x = graph.op("Conv", x, weights, bias, strides=[stride] * 2, pads=[kernel // 2] * 4, group=group)
    if activation == "Relu6":
        return graph.op("Clip", x, graph.constant(0.0), graph.constant(6.0))
    if activation == "Swish":
        return graph.op("Mul", x, graph.op("Sigmoid", x))
    return graph.op(activation, x) if activation else x


def picture(graph: GraphBuilder, size: int = IMAGE_SIZE, channels: int = 3) -> str:
    """The input of every model here."""
    return graph.input("x", "FP32", ["N", channels, size, size])


def classified(graph: GraphBuilder, x: str, channels: int, classes: int = 1000) -> onnx.ModelProto:
    """Ends a classifier: global average, one linear layer."""
    pooled = graph.op("Flatten", graph.op("GlobalAveragePool", x), axis=1)
    logits = graph.op("Gemm", pooled, graph.weight(channels, classes), graph.weight(classes), out="y")
    graph.output(logits, "FP32", ["N", classes])
    return graph.model()


def max_pool(graph: GraphBuilder, x: str, kernel: int = 2, stride: int = 2, pad: int = 0) -> str:
    return graph.op("MaxPool", x, kernel_shape=[kernel] * 2, strides=[stride] * 2, pads=[pad] * 4)


def batch_norm(graph: GraphBuilder, x: str, channels: int) -> str:
    ones, zeros = graph.constant(np.ones(channels)), graph.constant(np.zeros(channels))
    return graph.op("BatchNormalization", x, ones, zeros, zeros, ones)


def resnet50() -> onnx.ModelProto:
    """ResNet-50: bottlenecks of 3, 4, 6 and 3 blocks."""
    graph = GraphBuilder("resnet50")
    x = max_pool(graph, conv(graph, picture(graph), 3, 64, kernel=7, stride=2), 3, 2, 1)
    before = 64
    for stage, blocks in enumerate((3, 4, 6, 3)):
        inner, after = 64 << stage, 256 << stage
        for block in range(blocks):
            stride = 2 if stage and not block else 1
            y = conv(graph, x, before, inner, kernel=1)
            y = conv(graph, y, inner, inner, stride=stride)
            y = conv(graph, y, inner, after, kernel=1, activation="")
            short = x if block else conv(graph, x, before, after, kernel=1, stride=stride, activation="")
            x, before = graph.op("Relu", graph.op("Add", y, short)), after
    return classified(graph, x, before)


def mobilenet_v2() -> onnx.ModelProto:
    """MobileNetV2: inverted residuals around depthwise convolutions."""
    graph = GraphBuilder("mobilenet_v2")
    x = conv(graph, picture(graph), 3, 32, stride=2, activation="Relu6")
    before = 32
    rows = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
    for expansion, after, repeats, first_stride in rows:
        for block in range(repeats):
            stride = 1 if block else first_stride
            inner = before * expansion
            y = conv(graph, x, before, inner, kernel=1, activation="Relu6") if expansion > 1 else x
            y = conv(graph, y, inner, inner, stride=stride, group=inner, activation="Relu6")
            y = conv(graph, y, inner, after, kernel=1, activation="")
            x = graph.op("Add", x, y) if stride == 1 and before == after else y
            before = after
    return classified(graph, conv(graph, x, before, 1280, kernel=1, activation="Relu6"), 1280)


def vgg11() -> onnx.ModelProto:
    """VGG-11 with a narrower head."""
    graph = GraphBuilder("vgg11")
    x, before = picture(graph), 3
    for stage, widths in enumerate(((64,), (128,), (256, 256), (512, 512), (512, 512))):
        for after in widths:
            x, before = conv(graph, x, before, after), after
        x = max_pool(graph, x) if stage < 5 else x
    x = graph.op("Flatten", x, axis=1)
    for wide, narrow in ((512 * 49, 1024), (1024, 1024)):
        x = graph.op("Relu", graph.op("Gemm", x, graph.weight(wide, narrow), graph.weight(narrow)))
    graph.output(graph.op("Gemm", x, graph.weight(1024, 1000), graph.weight(1000), out="y"), "FP32", ["N", 1000])
    return graph.model()


def unet(base: int = 32, size: int = 256) -> onnx.ModelProto:
    """A U-Net of four levels, with transposed convolutions on the way up."""
    graph = GraphBuilder("unet")
    x, before, skips = picture(graph, size), 3, []
    for level in range(4):
        width = base << level
        x = conv(graph, conv(graph, x, before, width), width, width)
        skips.append((x, width))
        x, before = max_pool(graph, x), width
    x, before = conv(graph, x, before, base << 4), base << 4
    for skip, width in reversed(skips):
        x = graph.op("ConvTranspose", x, graph.weight(before, width, 2, 2), graph.weight(width), strides=[2, 2])
        x = graph.op("Concat", skip, x, axis=1)
        x, before = conv(graph, conv(graph, x, 2 * width, width), width, width), width
    mask = conv(graph, x, before, 2, kernel=1, activation="")
    graph.output(graph.op("Sigmoid", mask, out="y"), "FP32", ["N", 2, size, size])
    return graph.model()


def densenet(growth: int = 32) -> onnx.ModelProto:
    """DenseNet-121: every layer sees all before it in its block; normalisation comes first, so it cannot be folded."""
    graph = GraphBuilder("densenet")
    x = max_pool(graph, conv(graph, picture(graph), 3, 64, kernel=7, stride=2), 3, 2, 1)
    channels = 64
    for stage, layers in enumerate((6, 12, 24, 16)):
        for _ in range(layers):
            y = graph.op("Relu", batch_norm(graph, x, channels))
            y = conv(graph, y, channels, 4 * growth, kernel=1)
            y = conv(graph, y, 4 * growth, growth, activation="")
            x, channels = graph.op("Concat", x, y, axis=1), channels + growth
        if stage < 3:
            y = conv(graph, graph.op("Relu", batch_norm(graph, x, channels)), channels, channels // 2, kernel=1)
            channels //= 2
            x = graph.op("AveragePool", y, kernel_shape=[2, 2], strides=[2, 2])
    return classified(graph, graph.op("Relu", batch_norm(graph, x, channels)), channels)


def shufflenet(widths: Sequence[int] = (176, 352, 704)) -> onnx.ModelProto:
    """ShuffleNet-like: channels are split, one half is convolved, and both are shuffled."""
    graph = GraphBuilder("shufflenet")
    size = IMAGE_SIZE // 4
    x, before = max_pool(graph, conv(graph, picture(graph), 3, 24, stride=2), 3, 2, 1), 24
    for width, repeats in zip(widths, (4, 8, 4), strict=True):
        x, before, size = conv(graph, x, before, width, kernel=1), width, size // 2
        x = conv(graph, x, width, width, stride=2, group=width, activation="")
        for _ in range(repeats):
            x = _shuffled_block(graph, x, width, size)
    return classified(graph, conv(graph, x, before, 1024, kernel=1), 1024)


def _shuffled_block(graph: GraphBuilder, x: str, width: int, size: int) -> str:
    half = width // 2
    cut, end, axis = (graph.constant([value], "int64") for value in (half, width, 1))
    kept = graph.op("Slice", x, graph.constant([0], "int64"), cut, axis)
    y = graph.op("Slice", x, cut, end, axis)
    y = conv(graph, y, half, half, kernel=1)
    y = conv(graph, y, half, half, group=half, activation="")
    joined = graph.op("Concat", kept, conv(graph, y, half, half, kernel=1), axis=1)
    pairs = graph.op("Reshape", joined, graph.constant([0, 2, half, size, size], "int64"))
    mixed = graph.op("Transpose", pairs, perm=[0, 2, 1, 3, 4])
    return graph.op("Reshape", mixed, graph.constant([0, width, size, size], "int64"))


def super_resolution(size: int = 320) -> onnx.ModelProto:
    """ESPCN-like: hardly any weights, wide activations at full resolution."""
    graph = GraphBuilder("super_resolution")
    x = conv(graph, picture(graph, size, 1), 1, 64, kernel=5)
    x = conv(graph, conv(graph, x, 64, 64), 64, 32)
    x = graph.op("DepthToSpace", conv(graph, x, 32, 9, activation=""), blocksize=3, mode="CRD", out="y")
    graph.output(x, "FP32", ["N", 1, 3 * size, 3 * size])
    return graph.model()


def style_transfer(size: int = 192) -> onnx.ModelProto:
    """A style-transfer network: reflection padding, instance normalisation, resizing."""
    graph = GraphBuilder("style_transfer")

    def layer(x: str, before: int, after: int, kernel: int, stride: int = 1) -> str:
        pad = kernel // 2
        x = graph.op("Pad", x, graph.constant([0, 0, pad, pad, 0, 0, pad, pad], "int64"), mode="reflect")
        x = graph.op("Conv", x, graph.weight(after, before, kernel, kernel), graph.weight(after), strides=[stride] * 2)
        scale, shift = graph.constant(np.ones(after)), graph.constant(np.zeros(after))
        return graph.op("InstanceNormalization", x, scale, shift)

    x = graph.op("Relu", layer(picture(graph, size), 3, 32, 9))
    x = graph.op("Relu", layer(x, 32, 64, 3, 2))
    x = graph.op("Relu", layer(x, 64, 128, 3, 2))
    for _ in range(5):
        x = graph.op("Add", x, layer(graph.op("Relu", layer(x, 128, 128, 3)), 128, 128, 3))
    for before, after in ((128, 64), (64, 32)):
        x = graph.op("Resize", x, "", graph.constant([1.0, 1.0, 2.0, 2.0]), mode="nearest")
        x = graph.op("Relu", layer(x, before, after, 3))
    graph.output(graph.op("Tanh", layer(x, 32, 3, 9), out="y"), "FP32", ["N", 3, size, size])
    return graph.model()


def squeezenet() -> onnx.ModelProto:
    """SqueezeNet 1.1: squeeze, expand twice, join."""
    graph = GraphBuilder("squeezenet")
    x, before = max_pool(graph, conv(graph, picture(graph), 3, 64, stride=2), 3, 2, 1), 64
    for index, (narrow, wide) in enumerate(((16, 64), (16, 64), (32, 128), (32, 128), (48, 192), (64, 256))):
        squeezed = conv(graph, x, before, narrow, kernel=1)
        left, right = conv(graph, squeezed, narrow, wide, kernel=1), conv(graph, squeezed, narrow, wide)
        x, before = graph.op("Concat", left, right, axis=1), 2 * wide
        x = max_pool(graph, x, 3, 2, 1) if index in (1, 3) else x
    return classified(graph, conv(graph, x, before, 1000, kernel=1), 1000)


def efficientnet() -> onnx.ModelProto:
    """EfficientNet-like: Swish and squeeze-and-excitation around depthwise convolutions."""
    graph = GraphBuilder("efficientnet")
    x, before = conv(graph, picture(graph), 3, 32, stride=2, activation="Swish"), 32
    for after, repeats, first_stride in ((24, 2, 2), (48, 3, 2), (96, 4, 2), (136, 4, 1), (232, 5, 2)):
        for block in range(repeats):
            stride, inner = 1 if block else first_stride, 6 * before
            y = conv(graph, x, before, inner, kernel=1, activation="Swish")
            y = conv(graph, y, inner, inner, kernel=5, stride=stride, group=inner, activation="Swish")
            gate = conv(graph, graph.op("GlobalAveragePool", y), inner, before // 4, kernel=1, activation="Swish")
            gate = conv(graph, gate, before // 4, inner, kernel=1, activation="Sigmoid")
            y = conv(graph, graph.op("Mul", y, gate), inner, after, kernel=1, activation="")
            x, before = (graph.op("Add", x, y) if block else y), after
    return classified(graph, conv(graph, x, before, 1280, kernel=1, activation="Swish"), 1280)


def detector(size: int = 320, classes: int = 20) -> onnx.ModelProto:
    """A single-shot detector: a backbone, one head, and non-maximum suppression inside the graph."""
    graph = GraphBuilder("detector")
    x, before = picture(graph, size), 3
    for after in (32, 64, 128, 256, 512):
        x = conv(graph, conv(graph, x, before, after, stride=2), after, after)
        before = after
    anchors = (size // 32) ** 2 * 6
    boxes = graph.op("Transpose", conv(graph, x, before, 24, activation=""), perm=[0, 2, 3, 1])
    boxes = graph.op("Reshape", boxes, graph.constant([0, anchors, 4], "int64"))
    scores = graph.op("Transpose", conv(graph, x, before, 6 * classes, activation="Sigmoid"), perm=[0, 2, 3, 1])
    scores = graph.op("Reshape", scores, graph.constant([0, anchors, classes], "int64"))
    scores = graph.op("Transpose", scores, perm=[0, 2, 1])
    limits = (graph.constant([20], "int64"), graph.constant([0.5]), graph.constant([0.4]))
    picked = graph.op("NonMaxSuppression", boxes, scores, *limits, out="picked")
    graph.output(picked, "INT64", ["picks", 3])
    graph.output(boxes, "FP32", ["N", anchors, 4])
    return graph.model()


def video(frames: int = 16, size: int = 112) -> onnx.ModelProto:
    """C3D-like: convolutions over time as well."""
    graph = GraphBuilder("video")
    x, before = graph.input("x", "FP32", ["N", 3, frames, size, size]), 3
    for index, after in enumerate((32, 64, 128, 256)):
        weights = graph.constant(np.random.default_rng(index).standard_normal((after, before, 3, 3, 3)) * 0.05)
        x = graph.op("Relu", graph.op("Conv", x, weights, graph.weight(after), pads=[1] * 6))
        x, before = graph.op("MaxPool", x, kernel_shape=[2, 2, 2], strides=[2, 2, 2]), after
    return classified(graph, x, before, 400)
