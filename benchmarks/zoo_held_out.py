"""Models that were written to judge the estimator; which of them have changed it since is marked in `model_zoo`."""

from __future__ import annotations

import numpy as np
import onnx
from benchmarks.zoo_text import attention, block, embedded, gelu, linear, normalized
from benchmarks.zoo_vision import classified, conv, max_pool, picture

from nimify.testing.graph_builder import GraphBuilder


def inception() -> onnx.ModelProto:
    """Inception-like: four branches of different kernels, joined."""
    graph = GraphBuilder("inception")
    x = max_pool(graph, conv(graph, picture(graph), 3, 64, kernel=7, stride=2), 3, 2, 1)
    x, before = max_pool(graph, conv(graph, x, 64, 192), 3, 2, 1), 192
    for index, width in enumerate((64, 64, 96, 96, 128, 128)):
        pooled = graph.op("MaxPool", x, kernel_shape=[3, 3], strides=[1, 1], pads=[1, 1, 1, 1])
        branches = (
            conv(graph, x, before, width, kernel=1),
            conv(graph, conv(graph, x, before, width, kernel=1), width, 2 * width),
            conv(graph, conv(graph, x, before, 32, kernel=1), 32, 64, kernel=5),
            conv(graph, pooled, before, 64, kernel=1),
        )
        x, before = graph.op("Concat", *branches, axis=1), 3 * width + 128
        x = max_pool(graph, x, 3, 2, 1) if index in (1, 4) else x
    return classified(graph, x, before)


def segmentation(size: int = 256) -> onnx.ModelProto:
    """DeepLab-like: dilated convolutions, a pyramid of them, and a bilinear resize to the picture's size."""
    graph = GraphBuilder("segmentation")
    x, before = picture(graph, size), 3
    for after in (64, 128, 256):
        x, before = conv(graph, conv(graph, x, before, after, stride=2), after, after), after
    branches = []
    for rate in (1, 6, 12):
        weights, bias = graph.weight(256, before, 3, 3), graph.weight(256)
        wide = graph.op("Conv", x, weights, bias, dilations=[rate] * 2, pads=[rate] * 4)
        branches.append(graph.op("Relu", wide))
    x = conv(graph, graph.op("Concat", *branches, axis=1), 768, 256, kernel=1)
    x = conv(graph, x, 256, 21, kernel=1, activation="")
    scales = graph.constant([1.0, 1.0, 8.0, 8.0])
    graph.output(graph.op("Resize", x, "", scales, mode="linear", out="y"), "FP32", ["N", 21, size, size])
    return graph.model()


def mixer(layers: int = 8, width: int = 384) -> onnx.ModelProto:
    """MLP-Mixer: layers across patches, then across channels."""
    graph = GraphBuilder("mixer")
    patches = graph.op("Conv", picture(graph), graph.weight(width, 3, 16, 16), graph.weight(width), strides=[16, 16])
    x = graph.op("Transpose", graph.op("Reshape", patches, graph.constant([0, width, 196], "int64")), perm=[0, 2, 1])
    for _ in range(layers):
        mixed = graph.op("Transpose", normalized(graph, x, width), perm=[0, 2, 1])
        mixed = linear(graph, gelu(graph, linear(graph, mixed, 196, 256)), 256, 196)
        x = graph.op("Add", x, graph.op("Transpose", mixed, perm=[0, 2, 1]))
        inner = gelu(graph, linear(graph, normalized(graph, x, width), width, 4 * width))
        x = graph.op("Add", x, linear(graph, inner, 4 * width, width))
    pooled = graph.op("ReduceMean", x, axes=[1], keepdims=0)
    graph.output(graph.op("Gemm", pooled, graph.weight(width, 1000), graph.weight(1000), out="y"), "FP32", ["N", 1000])
    return graph.model()


def bert(layers: int = 8, width: int = 768, vocabulary: int = 30_522) -> onnx.ModelProto:
    """BERT-base with fewer layers: normalisation after each block."""
    graph = GraphBuilder("bert")
    x = normalized(graph, embedded(graph, vocabulary, width), width)
    for _ in range(layers):
        x = normalized(graph, graph.op("Add", x, attention(graph, x, width, 12)), width)
        inner = linear(graph, gelu(graph, linear(graph, x, width, 4 * width)), 4 * width, width)
        x = normalized(graph, graph.op("Add", x, inner), width)
    graph.output(graph.op("Tanh", x, out="hidden"), "FP32", ["N", "S", width])
    return graph.model()


def temporal_convolutions(steps: int = 2000, width: int = 256) -> onnx.ModelProto:
    """A TCN: dilated convolutions over time with residuals."""
    graph = GraphBuilder("temporal_convolutions")
    random = np.random.default_rng(0)
    x, before = graph.input("x", "FP32", ["N", 64, steps]), 64
    for level in range(6):
        weights = graph.constant(random.standard_normal((width, before, 3)) * 0.05)
        rate = 1 << level
        y = graph.op("Conv", x, weights, graph.weight(width), dilations=[rate], pads=[rate, rate])
        y = graph.op("Relu", y)
        x, before = (graph.op("Add", x, y) if before == width else y), width
    pooled = graph.op("Flatten", graph.op("GlobalAveragePool", x), axis=1)
    graph.output(graph.op("Gemm", pooled, graph.weight(width, 10), graph.weight(10), out="y"), "FP32", ["N", 10])
    return graph.model()


def tagger(vocabulary: int = 40_000, width: int = 300, hidden: int = 256, steps: int = 64) -> onnx.ModelProto:
    """Word embeddings and a bidirectional LSTM: scores for every word."""
    graph = GraphBuilder("tagger")
    ids = graph.input("input_ids", "INT64", ["N", steps])
    x = graph.op("Transpose", graph.op("Gather", graph.weight(vocabulary, width), ids), perm=[1, 0, 2])
    kernels = graph.weight(2, 4 * hidden, width), graph.weight(2, 4 * hidden, hidden), graph.weight(2, 8 * hidden)
    y = graph.op("LSTM", x, *kernels, hidden_size=hidden, direction="bidirectional")
    y = graph.op("Reshape", graph.op("Transpose", y, perm=[2, 0, 1, 3]), graph.constant([0, 0, 2 * hidden], "int64"))
    graph.output(graph.op("MatMul", y, graph.weight(2 * hidden, 20), out="y"), "FP32", ["N", steps, 20])
    return graph.model()


def autoencoder(size: int = 128) -> onnx.ModelProto:
    """Strided convolutions down, transposed ones up."""
    graph = GraphBuilder("autoencoder")
    x, before = picture(graph, size), 3
    for after in (64, 128, 256):
        x, before = conv(graph, x, before, after, stride=2), after
    for after in (128, 64, 32):
        weights, bias = graph.weight(before, after, 4, 4), graph.weight(after)
        x = graph.op("ConvTranspose", x, weights, bias, strides=[2, 2], pads=[1, 1, 1, 1])
        x, before = graph.op("Relu", x), after
    x = conv(graph, x, before, 3, activation="Sigmoid")
    graph.output(graph.op("Identity", x, out="y"), "FP32", ["N", 3, size, size])
    return graph.model()


def autoregressive_scores(vocabulary: int = 20_000, width: int = 640) -> onnx.ModelProto:
    """A wide softmax over a vocabulary: log-probabilities of 32 positions."""
    graph = GraphBuilder("autoregressive_scores")
    x = graph.input("x", "FP32", ["N", 32, width])
    for _ in range(4):
        x = graph.op("Add", x, linear(graph, graph.op("Relu", linear(graph, x, width, width)), width, width))
    scores = graph.op("MatMul", x, graph.weight(width, vocabulary))
    graph.output(graph.op("LogSoftmax", scores, axis=-1, out="y"), "FP32", ["N", 32, vocabulary])
    return graph.model()


def convnext(width: int = 96) -> onnx.ModelProto:
    """ConvNeXt-like: depthwise 7x7, normalisation with channels last, and wide layers of one pixel."""
    graph = GraphBuilder("convnext")
    patches = graph.weight(width, 3, 4, 4), graph.weight(width)
    x = graph.op("Conv", picture(graph), *patches, strides=[4, 4])
    for stage, blocks in enumerate((2, 2, 4)):
        if stage:
            halved = graph.weight(2 * width, width, 2, 2), graph.weight(2 * width)
            x, width = graph.op("Conv", x, *halved, strides=[2, 2]), 2 * width
        for _ in range(blocks):
            y = graph.op("Conv", x, graph.weight(width, 1, 7, 7), graph.weight(width), pads=[3] * 4, group=width)
            y = normalized(graph, graph.op("Transpose", y, perm=[0, 2, 3, 1]), width)
            y = linear(graph, gelu(graph, linear(graph, y, width, 4 * width)), 4 * width, width)
            x = graph.op("Add", x, graph.op("Transpose", y, perm=[0, 3, 1, 2]))
    return classified(graph, x, width)


def text_reader(height: int = 32, length: int = 256, hidden: int = 256) -> onnx.ModelProto:
    """CRNN: convolutions over a line of text, then a GRU in both directions over its columns."""
    graph = GraphBuilder("text_reader")
    x, before = graph.input("x", "FP32", ["N", 1, height, length]), 1
    for after in (64, 128, 256):
        x, before = max_pool(graph, conv(graph, x, before, after), 2, 2), after
    columns = graph.op("Reshape", x, graph.constant([0, before * height // 8, length // 8], "int64"))
    steps = graph.op("Transpose", columns, perm=[2, 0, 1])
    wide = before * height // 8
    kernels = graph.weight(2, 3 * hidden, wide), graph.weight(2, 3 * hidden, hidden)
    y = graph.op("GRU", steps, *kernels, hidden_size=hidden, direction="bidirectional")
    y = graph.op("Reshape", graph.op("Transpose", y, perm=[2, 0, 1, 3]), graph.constant([0, 0, 2 * hidden], "int64"))
    scores = graph.op("MatMul", y, graph.weight(2 * hidden, 97))
    graph.output(graph.op("LogSoftmax", scores, axis=-1, out="y"), "FP32", ["N", length // 8, 97])
    return graph.model()


def speech_encoder(layers: int = 4, width: int = 512, frames: int = 1000) -> onnx.ModelProto:
    """Whisper-like: two convolutions over a mel spectrogram, then attention over half of its frames."""
    graph = GraphBuilder("speech_encoder")
    x = graph.input("mel", "FP32", ["N", 80, frames])
    for before, stride in ((80, 1), (width, 2)):
        weights = graph.constant(np.random.default_rng(before).standard_normal((width, before, 3)) * 0.05)
        x = gelu(graph, graph.op("Conv", x, weights, graph.weight(width), pads=[1, 1], strides=[stride]))
    x = graph.op("Add", graph.op("Transpose", x, perm=[0, 2, 1]), graph.weight(frames // 2, width))
    for _ in range(layers):
        x = block(graph, x, width, 8)
    graph.output(graph.op("Identity", normalized(graph, x, width), out="hidden"), "FP32", ["N", frames // 2, width])
    return graph.model()


def windowed_attention(width: int = 96, size: int = 56, window: int = 7) -> onnx.ModelProto:
    """Swin-like: attention within windows of a picture, which are merged from stage to stage."""
    graph = GraphBuilder("windowed_attention")
    patches = graph.op("Conv", picture(graph), graph.weight(width, 3, 4, 4), graph.weight(width), strides=[4, 4])
    x = graph.op("Transpose", patches, perm=[0, 2, 3, 1])
    for stage in range(3):
        if stage:
            merged = graph.op("Reshape", x, graph.constant([-1, size // 2, 2, size // 2, 2 * width], "int64"))
            merged = graph.op("Transpose", merged, perm=[0, 1, 3, 2, 4])
            size, flat = size // 2, 4 * width
            merged = graph.op("Reshape", merged, graph.constant([-1, size, size, flat], "int64"))
            x, width = linear(graph, normalized(graph, merged, flat), flat, 2 * width), 2 * width
        count = size // window
        tiles = graph.op("Reshape", x, graph.constant([-1, count, window, count, window, width], "int64"))
        tiles = graph.op("Transpose", tiles, perm=[0, 1, 3, 2, 4, 5])
        tiles = graph.op("Reshape", tiles, graph.constant([-1, window * window, width], "int64"))
        for _ in range(2):
            tiles = block(graph, tiles, width, width // 32)
        tiles = graph.op("Reshape", tiles, graph.constant([-1, count, count, window, window, width], "int64"))
        tiles = graph.op("Transpose", tiles, perm=[0, 1, 3, 2, 4, 5])
        x = graph.op("Reshape", tiles, graph.constant([-1, size, size, width], "int64"))
    return classified(graph, graph.op("Transpose", x, perm=[0, 3, 1, 2]), width)


def wavenet(samples: int = 8000, width: int = 128, layers: int = 10) -> onnx.ModelProto:
    """WaveNet-like: gated dilated convolutions over a waveform, and the sum of what each layer skips out."""
    graph = GraphBuilder("wavenet")
    x = graph.op("Conv", graph.input("x", "FP32", ["N", 1, samples]), graph.weight(width, 1, 1), graph.weight(width))
    skipped = ""
    for layer in range(layers):
        rate = 1 << layer
        gates = [
            graph.op("Conv", x, graph.weight(width, width, 3), graph.weight(width), dilations=[rate], pads=[rate] * 2)
            for _ in range(2)
        ]
        y = graph.op("Mul", graph.op("Tanh", gates[0]), graph.op("Sigmoid", gates[1]))
        skip = graph.op("Conv", y, graph.weight(width, width, 1), graph.weight(width))
        skipped = graph.op("Add", skipped, skip) if skipped else skip
        x = graph.op("Add", x, graph.op("Conv", y, graph.weight(width, width, 1), graph.weight(width)))
    scores = graph.op("Conv", graph.op("Relu", skipped), graph.weight(256, width, 1), graph.weight(256))
    graph.output(graph.op("Identity", scores, out="y"), "FP32", ["N", 256, samples])
    return graph.model()


def picture_and_text(layers: int = 4, width: int = 384, tokens: int = 32) -> onnx.ModelProto:
    """CLIP-like: a picture and a text, each by its own encoder, and how well they match."""
    graph = GraphBuilder("picture_and_text")
    x, before = picture(graph), 3
    for after in (64, 128, 256, width):
        x, before = conv(graph, conv(graph, x, before, after, stride=2), after, after), after
    seen = graph.op("Flatten", graph.op("GlobalAveragePool", x), axis=1)
    read = graph.op("Add", embedded(graph, 30_000, width, tokens), graph.weight(tokens, width))
    for _ in range(layers):
        read = block(graph, read, width, 6)
    meant = graph.op("ReduceMean", normalized(graph, read, width), axes=[1], keepdims=0)
    sides = [graph.op("LpNormalization", linear(graph, side, width, width), axis=-1, p=2) for side in (seen, meant)]
    match = graph.op("ReduceSum", graph.op("Mul", *sides), graph.constant([1], "int64"), keepdims=1)
    graph.output(graph.op("Identity", match, out="match"), "FP32", ["N", 1])
    return graph.model()


def point_cloud(points: int = 4096) -> onnx.ModelProto:
    """PointNet-like: every point by itself, the largest of each feature over all, and a label for each point."""
    graph = GraphBuilder("point_cloud")

    def shared(x: str, before: int, after: int) -> str:
        return graph.op("Relu", graph.op("Conv", x, graph.weight(after, before, 1), graph.weight(after)))

    x = shared(graph.input("x", "FP32", ["N", 3, points]), 3, 64)
    local = shared(x, 64, 128)
    wide = shared(shared(local, 128, 256), 256, 1024)
    whole = graph.op("ReduceMax", wide, axes=[2], keepdims=1)
    spread = graph.op("Tile", whole, graph.constant([1, 1, points], "int64"))
    x = graph.op("Concat", local, spread, axis=1)
    for before, after in ((1152, 512), (512, 256), (256, 128)):
        x = shared(x, before, after)
    scores = graph.op("Conv", x, graph.weight(50, 128, 1), graph.weight(50))
    graph.output(graph.op("Softmax", scores, axis=1, out="y"), "FP32", ["N", 50, points])
    return graph.model()


def feature_pyramid(size: int = 256) -> onnx.ModelProto:
    """FPN-like: a tower of pictures, each joined with what is seen at half its size, and a head on every level."""
    graph = GraphBuilder("feature_pyramid")
    x, before, levels = picture(graph, size), 3, []
    for after in (32, 64, 128, 256):
        x, before = conv(graph, conv(graph, x, before, after, stride=2), after, after), after
        levels.append((x, before))
    joined, heads = "", []
    for level, channels in reversed(levels):
        side = conv(graph, level, channels, 128, kernel=1, activation="")
        if joined:
            scales = graph.constant([1.0, 1.0, 2.0, 2.0])
            side = graph.op("Add", side, graph.op("Resize", joined, "", scales, mode="nearest"))
        joined = side
        head = conv(graph, conv(graph, joined, 128, 128), 128, 12, activation="")
        heads.append(graph.op("Flatten", head, axis=1))
    total = sum(12 * (size >> level) ** 2 for level in range(1, 5))
    graph.output(graph.op("Concat", *heads, axis=1, out="y"), "FP32", ["N", total])
    return graph.model()


def query_decoder(width: int = 256, queries: int = 100, layers: int = 3) -> onnx.ModelProto:
    """DETR-like: convolutions, then a fixed set of queries that look at every place of the picture."""
    graph = GraphBuilder("query_decoder")
    x, before = picture(graph), 3
    for after in (64, 128, 256, width):
        x, before = conv(graph, x, before, after, stride=2), after
    places = graph.op("Reshape", x, graph.constant([0, width, 196], "int64"))
    memory = block(graph, graph.op("Transpose", places, perm=[0, 2, 1]), width, 8)
    keys = graph.op("Transpose", linear(graph, memory, width, width), perm=[0, 2, 1])
    values = linear(graph, memory, width, width)
    asked = graph.weight(queries, width)
    for _ in range(layers):
        scores = graph.op("Mul", graph.op("MatMul", linear(graph, asked, width, width), keys), graph.constant(0.06))
        found = graph.op("MatMul", graph.op("Softmax", scores, axis=-1), values)
        asked = normalized(graph, graph.op("Add", asked, linear(graph, found, width, width)), width)
        inner = graph.op("Relu", linear(graph, asked, width, 8 * width))
        asked = normalized(graph, graph.op("Add", asked, linear(graph, inner, 8 * width, width)), width)
    graph.output(graph.op("Sigmoid", linear(graph, asked, width, 4), out="boxes"), "FP32", ["N", queries, 4])
    return graph.model()
