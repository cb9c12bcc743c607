"""The three models that the benchmarks serve, and the requests that they are asked.

They stand for three kinds of work: `tiny` costs less than the request around it, `image` has large inputs and a costly
run, `text` has small inputs and a costly run. Weights are random, from a fixed seed: speed does not depend on them.
Files are written into `benchmarks/.models/` when they are missing.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
from benchmarks.encoder import BASE, text_encoder

from nimify.testing.graph_builder import GraphBuilder

Array = np.ndarray[Any, Any]

MODELS_DIR: Final = Path(__file__).parent / ".models"
TOKENS: Final = 64
"""Length of every text request."""


@dataclass(frozen=True, slots=True)
class BenchModel:
    """A model and how it is measured.

    Attributes:
        name: `tiny`, `image` or `text`.
        build: Makes the model.
        draw: Makes the inputs of a request with so many rows.
        threads: Threads inside the engine, the same for every contestant.
        batch: Rows in one run of the raw loop's second figure: what a server may merge.
        heavy: Whether a run costs milliseconds, so that many connections need a longer measurement.
    """

    name: str
    build: Callable[[], onnx.ModelProto]
    draw: Callable[[int, np.random.Generator], dict[str, Array]]
    threads: int
    batch: int
    heavy: bool

    @property
    def path(self) -> Path:
        """Where the model's file is kept."""
        return MODELS_DIR / f"{self.name}.onnx"

    @property
    def bundle(self) -> Path:
        """Where the bundle that `nimify create` makes of it is kept."""
        return MODELS_DIR / f"{self.name}-bundle"

    def ensure(self) -> Path:
        """Write the file when it is missing; its path."""
        if not self.path.exists():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            unfinished = self.path.with_suffix(f".{os.getpid()}.part")
            onnx.save_model(self.build(), str(unfinished))
            unfinished.replace(self.path)
        return self.path


def digits_mlp(*, inputs: int = 64, hidden: int = 64, classes: int = 10) -> onnx.ModelProto:
    """A perceptron with one hidden layer: FP32[N, inputs] to FP32[N, classes]."""
    graph = GraphBuilder("digits_mlp")
    x = graph.input("x", "FP32", ["N", inputs])
    hidden_values = graph.op("Relu", graph.op("Gemm", x, graph.weight(inputs, hidden), graph.weight(hidden)))
    logits = graph.op("Gemm", hidden_values, graph.weight(hidden, classes), graph.weight(classes))
    graph.output(graph.op("Softmax", logits, out="y", axis=1), "FP32", ["N", classes])
    return graph.model()


def resnet18(*, width: int = 64, image_size: int = 224, classes: int = 1000) -> onnx.ModelProto:
    """ResNet-18: FP32[N, 3, image_size, image_size] to FP32[N, classes].

    Its normalisation is folded into the convolutions, as exporters leave it.
    """
    graph = GraphBuilder("resnet18")
    x = graph.input("x", "FP32", ["N", 3, image_size, image_size])
    x = graph.op("Relu", _convolution(graph, x, channels=(3, width), kernel=7, stride=2))
    x = graph.op("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    before = width
    for stage in range(4):
        after = width << stage
        for block in range(2):
            x = _basic_block(graph, x, channels=(before, after), stride=2 if stage and not block else 1)
            before = after
    pooled = graph.op("Flatten", graph.op("GlobalAveragePool", x), axis=1)
    logits = graph.op("Gemm", pooled, graph.weight(before, classes), graph.weight(classes), out="y")
    graph.output(logits, "FP32", ["N", classes])
    return graph.model()


def _basic_block(graph: GraphBuilder, x: str, *, channels: tuple[int, int], stride: int) -> str:
    before, after = channels
    inner = graph.op("Relu", _convolution(graph, x, channels=channels, kernel=3, stride=stride))
    inner = _convolution(graph, inner, channels=(after, after), kernel=3)
    same = before == after and stride == 1
    shortcut = x if same else _convolution(graph, x, channels=channels, kernel=1, stride=stride)
    return graph.op("Relu", graph.op("Add", inner, shortcut))


def _convolution(graph: GraphBuilder, x: str, *, channels: tuple[int, int], kernel: int, stride: int = 1) -> str:
    before, after = channels
    weights, bias = graph.weight(after, before, kernel, kernel), graph.weight(after)
    return graph.op("Conv", x, weights, bias, strides=[stride] * 2, pads=[kernel // 2] * 4)


def _pixels(*shape: int) -> Callable[[int, np.random.Generator], dict[str, Array]]:
    return lambda rows, random: {"x": random.standard_normal((rows, *shape), dtype=np.float32)}


def _tokens(rows: int, random: np.random.Generator) -> dict[str, Array]:
    ids = random.integers(0, BASE.vocabulary, (rows, TOKENS), dtype=np.int64)
    return {"input_ids": ids, "attention_mask": np.ones_like(ids)}


MODELS: Final[Mapping[str, BenchModel]] = {
    model.name: model
    for model in (
        BenchModel("tiny", digits_mlp, _pixels(64), threads=1, batch=32, heavy=False),
        BenchModel("image", resnet18, _pixels(3, 224, 224), threads=2, batch=8, heavy=True),
        BenchModel("text", text_encoder, _tokens, threads=2, batch=16, heavy=True),
    )
}
"""Every model by name."""
