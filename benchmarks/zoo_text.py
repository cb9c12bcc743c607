"""Transformers of the zoo, for text and for pictures."""

from __future__ import annotations

import math

import numpy as np
import onnx

from nimify.tensors import DATATYPES
from nimify.testing.graph_builder import GraphBuilder

TOKENS = 64


def linear(graph: GraphBuilder, x: str, before: int, after: int) -> str:
    """A layer as exporters write it: MatMul, then Add."""
    return graph.op("Add", graph.op("MatMul", x, graph.weight(before, after)), graph.weight(after))


def normalized(graph: GraphBuilder, x: str, width: int) -> str:
    scale, shift = graph.constant(np.ones(width)), graph.constant(np.zeros(width))
    return graph.op("LayerNormalization", x, scale, shift, axis=-1)


def gelu(graph: GraphBuilder, x: str) -> str:
    """GELU, written out as exporters do."""
    error = graph.op("Erf", graph.op("Div", x, graph.constant(math.sqrt(2.0))))
    return graph.op("Mul", graph.op("Mul", x, graph.op("Add", error, graph.constant(1.0))), graph.constant(0.5))


def attention(graph: GraphBuilder, x: str, width: int, heads: int, bias: str = "") -> str:
    """Self-attention with separate projections; `bias` is added to the scores."""

    def split(perm: list[int]) -> str:
        wide = linear(graph, x, width, width)
        return graph.op(
            "Transpose",
            graph.op("Reshape", wide, graph.constant([0, 0, heads, width // heads], "int64")),
            perm=perm,
        )

    scores = graph.op("MatMul", split([0, 2, 1, 3]), split([0, 2, 3, 1]))
    scores = graph.op("Div", scores, graph.constant(math.sqrt(width // heads)))
    weights = graph.op("Softmax", graph.op("Add", scores, bias) if bias else scores, axis=-1)
    merged = graph.op("Transpose", graph.op("MatMul", weights, split([0, 2, 1, 3])), perm=[0, 2, 1, 3])
    return linear(graph, graph.op("Reshape", merged, graph.constant([0, 0, width], "int64")), width, width)


def block(graph: GraphBuilder, x: str, width: int, heads: int, bias: str = "") -> str:
    """A pre-normalised transformer block."""
    x = graph.op("Add", x, attention(graph, normalized(graph, x, width), width, heads, bias))
    inner = gelu(graph, linear(graph, normalized(graph, x, width), width, 4 * width))
    return graph.op("Add", x, linear(graph, inner, 4 * width, width))


def embedded(graph: GraphBuilder, vocabulary: int, width: int, tokens: int | str = "S") -> str:
    ids = graph.input("input_ids", "INT64", ["N", tokens])
    return graph.op("Gather", graph.weight(vocabulary, width), ids)


def decoder(layers: int = 8, width: int = 512, vocabulary: int = 32_000) -> onnx.ModelProto:
    """GPT-like: causal attention over fixed 64 tokens, and scores over the whole vocabulary for each."""
    graph = GraphBuilder("decoder")
    x = graph.op("Add", embedded(graph, vocabulary, width, TOKENS), graph.weight(TOKENS, width))
    causal = graph.constant(np.triu(np.full((TOKENS, TOKENS), -1e4), 1))
    for _ in range(layers):
        x = block(graph, x, width, 8, causal)
    logits = graph.op("MatMul", normalized(graph, x, width), graph.weight(width, vocabulary), out="logits")
    graph.output(logits, "FP32", ["N", TOKENS, vocabulary])
    return graph.model()


def t5_encoder(layers: int = 6, width: int = 512, vocabulary: int = 32_128) -> onnx.ModelProto:
    """T5-like: RMS normalisation written out, a bias for each head and distance, gated feed-forward without biases."""
    graph = GraphBuilder("t5_encoder")

    def rms(x: str) -> str:
        mean = graph.op("ReduceMean", graph.op("Mul", x, x), axes=[-1])
        return graph.op(
            "Mul",
            graph.op("Div", x, graph.op("Sqrt", graph.op("Add", mean, graph.constant(1e-6)))),
            graph.constant(np.ones(width)),
        )

    x = embedded(graph, vocabulary, width, TOKENS)
    bias = graph.constant(np.random.default_rng(0).standard_normal((1, 8, TOKENS, TOKENS)))
    for _ in range(layers):
        x = graph.op("Add", x, attention(graph, rms(x), width, 8, bias))
        inner = rms(x)
        gate = graph.op("Relu", graph.op("MatMul", inner, graph.weight(width, 2 * width)))
        up = graph.op("MatMul", inner, graph.weight(width, 2 * width))
        x = graph.op("Add", x, graph.op("MatMul", graph.op("Mul", gate, up), graph.weight(2 * width, width)))
    graph.output(graph.op("Mul", rms(x), graph.constant(1.0), out="hidden"), "FP32", ["N", TOKENS, width])
    return graph.model()


def vision_transformer(layers: int = 12, width: int = 384) -> onnx.ModelProto:
    """ViT-S/16 at 224: patches by a convolution, then blocks over 196 tokens."""
    graph = GraphBuilder("vision_transformer")
    pixels = graph.input("x", "FP32", ["N", 3, 224, 224])
    patches = graph.op("Conv", pixels, graph.weight(width, 3, 16, 16), graph.weight(width), strides=[16, 16])
    x = graph.op("Reshape", patches, graph.constant([0, width, 196], "int64"))
    x = graph.op("Add", graph.op("Transpose", x, perm=[0, 2, 1]), graph.weight(196, width))
    for _ in range(layers):
        x = block(graph, x, width, 6)
    pooled = graph.op("ReduceMean", normalized(graph, x, width), axes=[1], keepdims=0)
    graph.output(graph.op("Gemm", pooled, graph.weight(width, 1000), graph.weight(1000), out="y"), "FP32", ["N", 1000])
    return graph.model()


def long_document(layers: int = 4, width: int = 256) -> onnx.ModelProto:
    """A small encoder over 512 tokens, whose attention scores outweigh its weights."""
    graph = GraphBuilder("long_document")
    x = graph.op("Add", graph.input("x", "FP32", ["N", 512, width]), graph.weight(512, width))
    for _ in range(layers):
        x = block(graph, x, width, 8)
    pooled = graph.op("ReduceMean", x, axes=[1], keepdims=0)
    graph.output(graph.op("Gemm", pooled, graph.weight(width, 8), graph.weight(8), out="y"), "FP32", ["N", 8])
    return graph.model()


def half_encoder(layers: int = 4, width: int = 512) -> onnx.ModelProto:
    """A transformer-like stack of FP16 layers; ONNX Runtime has few FP16 kernels for CPUs and casts around the rest."""
    graph = GraphBuilder("half_encoder")
    x = graph.input("x", "FP16", ["N", TOKENS, width])
    for _ in range(layers):
        inner = graph.op("MatMul", x, graph.weight(width, 4 * width, dtype="float16"))
        inner = graph.op("Relu", graph.op("Add", inner, graph.weight(4 * width, dtype="float16")))
        x = graph.op("Add", x, graph.op("MatMul", inner, graph.weight(4 * width, width, dtype="float16")))
    graph.output(graph.op("Cast", x, to=DATATYPES["FP32"].onnx, out="y"), "FP32", ["N", TOKENS, width])
    return graph.model()
