"""Fused attention: projections where they are inside, scores, their softmax, and the weighted sum of values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from nimify.analysis.compute.view import Rule, Uncountable, View, Work

SOFTMAX: Final = 5
"""Maximum, subtract, exponential, sum, divide; per score. Scaling scores counts one more."""


def _scores(batch: int, heads: int, queries: int, keys: int, key_size: int, value_size: int) -> Work:
    scores = batch * heads * queries * keys
    return Work(scores * (key_size + value_size), scores * (SOFTMAX + 1))


def _projected(view: View) -> Work:
    """`com.microsoft::Attention`: one product makes query, key and value out of the input."""
    batch, sequence, width = view.shape(0)
    heads = view.number("num_heads", 1)
    columns = view.shape(1)[-1]
    sizes = view.numbers("qkv_hidden_sizes") or [columns // 3] * 3
    past = view.input(8 if view.node.operator == "QAttention" else 4)
    before = past.shape[3] if past is not None and past.shape is not None and len(past.shape) == 5 else 0
    inner = _scores(batch, heads, sequence, sequence + before, sizes[1] // heads, sizes[2] // heads)
    return Work(inner.macs + batch * sequence * width * columns, inner.other)


def _multi_head(view: View) -> Work:
    """`com.microsoft::MultiHeadAttention`: query, key and value come from outside."""
    query = view.shape(0)
    heads = view.number("num_heads", 1)
    if len(query) == 5:
        batch, sequence, _, _, size = query
        return _scores(batch, heads, sequence, sequence, size, size)
    batch, sequence, hidden = query
    result = view.result()
    key = view.shape(1)
    keys = key[2] if len(key) == 4 else key[1]
    past = view.input(6)
    keys += past.shape[2] if past is not None and past.shape is not None and len(past.shape) == 4 else 0
    return _scores(batch, heads, sequence, keys, hidden // heads, result[-1] // heads)


def _grouped(view: View) -> Work:
    """`com.microsoft::GroupQueryAttention`: fewer heads for keys than for queries, and a cache."""
    batch, sequence, hidden = view.result()
    heads = view.number("num_heads", 1)
    keys = max(view.result(1)[2], sequence) if len(view.node.outputs) > 1 and view.node.outputs[1] else sequence
    return _scores(batch, heads, sequence, keys, hidden // heads, hidden // heads)


def _standard(view: View) -> Work:
    """The standard `Attention`: (batch, heads, sequence, size), or heads folded into the last axis."""
    query, key, value = view.shape(0), view.shape(1), view.shape(2)
    past = view.input(4)
    if len(query) == 4:
        batch, heads, sequence, size = query
        keys, value_size = key[2], value[3]
    elif len(query) == 3:
        batch, sequence, width = query
        heads = view.number("q_num_heads", 1)
        size, keys = width // heads, key[1]
        value_size = value[2] // view.number("kv_num_heads", heads)
    else:
        raise Uncountable
    keys += past.shape[2] if past is not None and past.shape is not None and len(past.shape) == 4 else 0
    return _scores(batch, heads, sequence, keys, size, value_size)


def _attention(view: View) -> Work:
    return _standard(view) if view.node.domain == "ai.onnx" else _projected(view)


ATTENTION: Final[Mapping[str, Rule]] = {
    "Attention": _attention,
    "GroupQueryAttention": _grouped,
    "MultiHeadAttention": _multi_head,
    "QAttention": _projected,
}
"""Rules by operator name."""
