"""A text encoder in the manner of BERT, small enough for a test."""

from __future__ import annotations

import numpy as np
import onnx

from nimify.tensors import DATATYPES
from nimify.testing.graph_builder import GraphBuilder

_HEADS = 2
_HEAD_SIZE = 8
_HIDDEN = _HEADS * _HEAD_SIZE
_POSITIONS = 128


def text_encoder(*, vocabulary: int = 100) -> onnx.ModelProto:
    """INT64[batch, sequence] token ids and mask to hidden states and a pooled row.

    Sequences may have up to 128 tokens. An id of `vocabulary` or more makes the engine refuse the request, as in a
    real encoder.
    """
    graph = GraphBuilder("text_encoder")
    ids = graph.input("input_ids", "INT64", ["batch", "sequence"])
    mask = graph.input("attention_mask", "INT64", ["batch", "sequence"])
    words = graph.op("Gather", graph.weight(vocabulary, _HIDDEN), ids)
    hidden = _normalized(graph, graph.op("Add", words, _positions(graph, ids)))
    hidden = _normalized(graph, graph.op("Add", hidden, _attention(graph, hidden, mask)))
    hidden = _normalized(graph, graph.op("Add", hidden, _feed_forward(graph, hidden)), out="last_hidden_state")
    first = graph.op("Gather", hidden, graph.constant(0, "int64"), axis=1)
    pooled = graph.op("Tanh", graph.op("MatMul", first, graph.weight(_HIDDEN, _HIDDEN)), out="pooler_output")
    graph.output(hidden, "FP32", ["batch", "sequence", _HIDDEN])
    graph.output(pooled, "FP32", ["batch", _HIDDEN])
    return graph.model()


def _positions(graph: GraphBuilder, ids: str) -> str:
    length = graph.op("Gather", graph.op("Shape", ids), graph.constant([1], "int64"))
    return graph.op("Slice", graph.weight(_POSITIONS, _HIDDEN), graph.constant([0], "int64"), length)


def _attention(graph: GraphBuilder, hidden: str, mask: str) -> str:
    query = _split_heads(graph, hidden, perm=[0, 2, 1, 3])
    key = _split_heads(graph, hidden, perm=[0, 2, 3, 1])
    value = _split_heads(graph, hidden, perm=[0, 2, 1, 3])
    scores = graph.op("Mul", graph.op("MatMul", query, key), graph.constant(1 / np.sqrt(_HEAD_SIZE)))
    weights = graph.op("Softmax", graph.op("Add", scores, _mask_bias(graph, mask)), axis=-1)
    merged = graph.op("Transpose", graph.op("MatMul", weights, value), perm=[0, 2, 1, 3])
    merged = graph.op("Reshape", merged, graph.constant([0, 0, _HIDDEN], "int64"))
    return graph.op("MatMul", merged, graph.weight(_HIDDEN, _HIDDEN))


def _split_heads(graph: GraphBuilder, hidden: str, *, perm: list[int]) -> str:
    projected = graph.op("MatMul", hidden, graph.weight(_HIDDEN, _HIDDEN))
    heads = graph.op("Reshape", projected, graph.constant([0, 0, _HEADS, _HEAD_SIZE], "int64"))
    return graph.op("Transpose", heads, perm=perm)


def _mask_bias(graph: GraphBuilder, mask: str) -> str:
    """0 where a token counts and -10000 where it does not, broadcast over heads and queries."""
    kept = graph.op("Cast", mask, to=DATATYPES["FP32"].onnx)
    kept = graph.op("Unsqueeze", kept, graph.constant([1, 2], "int64"))
    return graph.op("Mul", graph.op("Sub", graph.constant(1.0), kept), graph.constant(-10000.0))


def _feed_forward(graph: GraphBuilder, hidden: str) -> str:
    inner = graph.op("MatMul", hidden, graph.weight(_HIDDEN, 4 * _HIDDEN))
    gate = graph.op("Add", graph.op("Erf", graph.op("Mul", inner, graph.constant(np.sqrt(0.5)))), graph.constant(1.0))
    gelu = graph.op("Mul", graph.op("Mul", inner, gate), graph.constant(0.5))
    return graph.op("MatMul", gelu, graph.weight(4 * _HIDDEN, _HIDDEN))


def _normalized(graph: GraphBuilder, x: str, *, out: str = "") -> str:
    scale, bias = graph.constant(np.ones(_HIDDEN)), graph.constant(np.zeros(_HIDDEN))
    return graph.op("LayerNormalization", x, scale, bias, out=out, axis=-1)
