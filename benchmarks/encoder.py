"""A text encoder of the size of the small sentence encoders that many services run."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
import onnx

from nimify.tensors import DATATYPES
from nimify.testing.graph_builder import GraphBuilder


@dataclass(frozen=True, slots=True)
class EncoderSize:
    """How large a text encoder is."""

    layers: int = 6
    hidden: int = 384
    heads: int = 12
    vocabulary: int = 30_000
    positions: int = 512

    @property
    def head_size(self) -> int:
        """Width of one attention head."""
        return self.hidden // self.heads


BASE: Final = EncoderSize()


def text_encoder(size: EncoderSize = BASE) -> onnx.ModelProto:
    """INT64[N, S] token ids and attention mask to FP32[N, hidden]: the mean of the last layer over the kept tokens."""
    graph = GraphBuilder("text_encoder")
    ids = graph.input("input_ids", "INT64", ["N", "S"])
    mask = graph.input("attention_mask", "INT64", ["N", "S"])
    kept = graph.op("Cast", mask, to=DATATYPES["FP32"].onnx)
    bias = _mask_bias(graph, kept)
    words = graph.op("Gather", graph.weight(size.vocabulary, size.hidden), ids)
    hidden = _normalized(graph, size, graph.op("Add", words, _positions(graph, size, ids)))
    for _ in range(size.layers):
        hidden = _normalized(graph, size, graph.op("Add", hidden, _attention(graph, size, hidden, bias)))
        hidden = _normalized(graph, size, graph.op("Add", hidden, _feed_forward(graph, size, hidden)))
    graph.output(_mean_over_tokens(graph, hidden, kept), "FP32", ["N", size.hidden])
    return graph.model()


def _positions(graph: GraphBuilder, size: EncoderSize, ids: str) -> str:
    length = graph.op("Gather", graph.op("Shape", ids), graph.constant([1], "int64"))
    return graph.op("Slice", graph.weight(size.positions, size.hidden), graph.constant([0], "int64"), length)


def _mask_bias(graph: GraphBuilder, kept: str) -> str:
    """0 where a token counts and -10000 where it does not, broadcast over heads and queries."""
    left_out = graph.op("Sub", graph.constant(1.0), graph.op("Unsqueeze", kept, graph.constant([1, 2], "int64")))
    return graph.op("Mul", left_out, graph.constant(-10000.0))


def _attention(graph: GraphBuilder, size: EncoderSize, hidden: str, bias: str) -> str:
    query = _heads(graph, size, hidden, perm=[0, 2, 1, 3])
    key = _heads(graph, size, hidden, perm=[0, 2, 3, 1])
    value = _heads(graph, size, hidden, perm=[0, 2, 1, 3])
    scores = graph.op("Div", graph.op("MatMul", query, key), graph.constant(math.sqrt(size.head_size)))
    weights = graph.op("Softmax", graph.op("Add", scores, bias), axis=-1)
    merged = graph.op("Transpose", graph.op("MatMul", weights, value), perm=[0, 2, 1, 3])
    merged = graph.op("Reshape", merged, graph.constant([0, 0, size.hidden], "int64"))
    return _linear(graph, merged, size.hidden, size.hidden)


def _heads(graph: GraphBuilder, size: EncoderSize, hidden: str, *, perm: list[int]) -> str:
    projected = _linear(graph, hidden, size.hidden, size.hidden)
    heads = graph.op("Reshape", projected, graph.constant([0, 0, size.heads, size.head_size], "int64"))
    return graph.op("Transpose", heads, perm=perm)


def _feed_forward(graph: GraphBuilder, size: EncoderSize, hidden: str) -> str:
    """Two layers around a GELU, written as exporters write it, so that engines recognise it."""
    inner = _linear(graph, hidden, size.hidden, 4 * size.hidden)
    error = graph.op("Erf", graph.op("Div", inner, graph.constant(math.sqrt(2.0))))
    gated = graph.op("Mul", inner, graph.op("Add", error, graph.constant(1.0)))
    return _linear(graph, graph.op("Mul", gated, graph.constant(0.5)), 4 * size.hidden, size.hidden)


def _linear(graph: GraphBuilder, x: str, before: int, after: int) -> str:
    return graph.op("Add", graph.op("MatMul", x, graph.weight(before, after)), graph.weight(after))


def _normalized(graph: GraphBuilder, size: EncoderSize, x: str) -> str:
    scale, shift = graph.constant(np.ones(size.hidden)), graph.constant(np.zeros(size.hidden))
    return graph.op("LayerNormalization", x, scale, shift, axis=-1)


def _mean_over_tokens(graph: GraphBuilder, hidden: str, kept: str) -> str:
    weights = graph.op("Unsqueeze", kept, graph.constant([-1], "int64"))
    tokens = graph.constant([1], "int64")
    total = graph.op("ReduceSum", graph.op("Mul", hidden, weights), tokens, keepdims=0)
    count = graph.op("Clip", graph.op("ReduceSum", weights, tokens, keepdims=0), graph.constant(1e-9))
    return graph.op("Div", total, count, out="y")
