"""Operators of ONNX Runtime's own domain, which its optimised and quantised models use.

Shapes follow ONNX Runtime's documentation of its contributed operators. What is not listed is a gap.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from nimify.analysis.inference.call import Call, NotInferable, Rule
from nimify.analysis.inference.kinds import FLOAT, INT32, Kind, Shape, Tensor
from nimify.analysis.inference.shapes import broadcast, matrix_product, window


def _same(call: Call) -> Sequence[Kind]:
    return [call.tensor(0)]


def _binary(call: Call) -> Sequence[Kind]:
    return [Tensor(call.tensor(0).element_type, broadcast(call.shape(0), call.shape(1)))]


def _quantised_binary(call: Call) -> Sequence[Kind]:
    return [Tensor(call.tensor(0).element_type, broadcast(call.shape(0), call.shape(3)))]


def _half_last(call: Call) -> Sequence[Kind]:
    shape = call.shape(0)
    return [Tensor(call.tensor(0).element_type, (*shape[:-1], shape[-1] // 2))]


def _normalised(call: Call) -> Sequence[Kind]:
    """Layer normalisation with its optional statistics."""
    shape = call.shape(0)
    axis = call.number("axis", -1) % max(len(shape), 1)
    statistics = Tensor(FLOAT, (*shape[:axis], *(1,) * (len(shape) - axis)))
    return [call.tensor(0), statistics, statistics]


def _skip_normalised(call: Call) -> Sequence[Kind]:
    *_, mean, deviation = _normalised(call)
    return [call.tensor(0), mean, deviation, call.tensor(0)]


def _matrix(call: Call, right: int, element_type: int) -> Sequence[Kind]:
    one, other = call.shape(0), call.shape(right)
    if call.attributes.get("transA", 0) and len(one) > 1:
        one = (*one[:-2], one[-1], one[-2])
    if call.attributes.get("transB", 0) and len(other) > 1:
        other = (*other[:-2], other[-1], other[-2])
    return [Tensor(element_type, matrix_product(one, other))]


def _fused_matmul(call: Call) -> Sequence[Kind]:
    if call.attributes.get("transBatchA", 0) or call.attributes.get("transBatchB", 0):
        raise NotInferable("it transposes the batch axes")
    return _matrix(call, 1, call.tensor(0).element_type)


def _matmul_to_float(call: Call) -> Sequence[Kind]:
    """Products of quantised numbers that come out in the type of their scale, which is the input behind them."""
    return _matrix(call, 1, call.tensor(2).element_type or FLOAT)


def _q_gemm(call: Call) -> Sequence[Kind]:
    # A, a_scale, a_zero_point, B, b_scale, b_zero_point, C, y_scale, y_zero_point: float without y_zero_point.
    return _matrix(call, 3, call.tensor(8).element_type if call.has(8) else FLOAT)


def _matmul_blocks(call: Call) -> Sequence[Kind]:
    return [Tensor(call.tensor(0).element_type, (*call.shape(0)[:-1], call.number("N")))]


def convolution(call: Call, *, weights: int, element_type: int) -> Sequence[Kind]:
    """What a convolution gives, whose weights are an input of any position; channels come last where it says so."""
    data, kernel = call.shape(0), call.shape(weights)
    last = bool(call.attributes.get("channels_last", 0)) or call.operator.startswith("Nhwc")
    spatial = data[1:-1] if last else data[2:]
    taps = kernel[1:-1] if call.operator.startswith("Nhwc") else kernel[2:]
    places = window(
        spatial, taps, strides=call.numbers("strides"), dilations=call.numbers("dilations"), pads=call.numbers("pads"),
        auto_pad=text(call, "auto_pad"),
    )  # fmt: skip
    shape = (data[0], *places, kernel[0]) if last else (data[0], kernel[0], *places)
    return [Tensor(element_type, shape)]


def _fused_convolution(call: Call) -> Sequence[Kind]:
    return convolution(call, weights=1, element_type=call.tensor(0).element_type)


def _q_convolution(call: Call) -> Sequence[Kind]:
    return convolution(call, weights=3, element_type=call.tensor(7).element_type)


def pool_places(call: Call, spatial: Sequence[int]) -> Shape:
    """How many places the window of a pooling has along each axis, as ONNX Runtime counts them."""
    kernel, auto_pad = call.numbers("kernel_shape"), text(call, "auto_pad")
    strides, pads = call.numbers("strides") or [1] * len(kernel), call.numbers("pads")
    if auto_pad in ("SAME_UPPER", "SAME_LOWER"):
        # It pads as if the window were not dilated, so that a dilated one has fewer places than the name promises.
        sizes = zip(spatial, kernel, strides, strict=True)
        needed = [(-(-length // step) - 1) * step + size - length for length, size, step in sizes]
        shorter, longer = [one // 2 for one in needed], [one - one // 2 for one in needed]
        pads = [*shorter, *longer] if auto_pad == "SAME_UPPER" else [*longer, *shorter]
        auto_pad = ""
    return window(
        spatial, kernel, strides=strides, dilations=call.numbers("dilations"), pads=pads, auto_pad=auto_pad,
        ceil=bool(call.number("ceil_mode", 0)),
    )  # fmt: skip


def pooling(call: Call) -> Sequence[Kind]:
    """What pooling over windows gives, or over everything."""
    data = call.shape(0)
    last = bool(call.attributes.get("channels_last", 0)) or call.operator.startswith("Nhwc")
    spatial = data[1:-1] if last else data[2:]
    if call.operator == "QLinearGlobalAveragePool":
        places: Shape = (1,) * len(spatial)
    else:
        places = pool_places(call, spatial)
    shape = (data[0], *places, data[-1]) if last else (data[0], data[1], *places)
    return [Tensor(call.tensor(0).element_type, shape)]


def _q_concat(call: Call) -> Sequence[Kind]:
    # Y_scale, Y_zero_point, then (tensor, scale, zero point) per part.
    parts = [call.shape(position) for position in range(2, len(call.inputs), 3)]
    if not parts:
        raise NotInferable("it joins nothing")
    axis = call.number("axis") % len(parts[0])
    total = sum(part[axis] for part in parts)
    return [Tensor(call.tensor(1).element_type, (*parts[0][:axis], total, *parts[0][axis + 1 :]))]


def _dequantised(call: Call) -> Sequence[Kind]:
    return [Tensor(call.tensor(1).element_type, call.shape(0))]


def _quantised(call: Call) -> Sequence[Kind]:
    return [Tensor(call.tensor(2).element_type, call.shape(0))]


def _attention(call: Call) -> Sequence[Kind]:
    batch, sequence, _ = call.shape(0, 3)
    sizes = call.numbers("qkv_hidden_sizes")
    weights = call.shape(1)
    hidden = sizes[2] if len(sizes) == 3 else weights[-1] // 3
    heads = max(call.number("num_heads"), 1)
    quantised = call.operator == "QAttention"
    past = call.tensor(8 if quantised else 4).shape
    kept = sequence + (past[3] if past is not None and len(past) == 5 else 0)
    # A quantised one computes in the type of its input's scale.
    element_type = call.tensor(3 if quantised else 0).element_type
    present = Tensor(element_type, (2, batch, heads, kept, hidden // heads))
    return [Tensor(element_type, (batch, sequence, hidden)), present]


def _multi_head_attention(call: Call) -> Sequence[Kind]:
    query = call.shape(0)
    element_type = call.tensor(0).element_type
    heads = max(call.number("num_heads"), 1)
    if len(query) == 5:  # Query, key and value packed: batch, sequence, heads, 3, size.
        batch, sequence, _, _, size = query
        kept, hidden = sequence, heads * size
    elif not call.has(1):
        raise NotInferable("it has no key")
    else:
        batch, sequence, hidden = call.shape(0, 3)
        key = call.shape(1)
        # Key and value packed together, of their own rank 4 when cached, or one beside the other.
        kept = key[2] if len(key) == 4 else key[1]
        if call.has(2):
            value = call.shape(2)
            hidden = value[1] * value[3] if len(value) == 4 else value[-1]
    past = call.tensor(6).shape
    kept += past[2] if past is not None and len(past) == 4 else 0
    present = Tensor(element_type, (batch, heads, kept, hidden // heads))
    scores = Tensor(element_type, (batch, heads, sequence, kept))
    return [Tensor(element_type, (batch, sequence, hidden)), present, present, scores]


def _group_query_attention(call: Call) -> Sequence[Kind]:
    batch, sequence, width = call.shape(0, 3)
    heads, groups = max(call.number("num_heads"), 1), max(call.number("kv_num_heads"), 1)
    element_type = call.tensor(0).element_type
    size = width // heads if call.has(1) else width // (heads + 2 * groups)
    past = call.tensor(3).shape
    total = call.array(6)
    longest = sequence if total is None or total.size != 1 else int(total.item())
    kept = max(past[2] if past is not None and len(past) == 4 else 0, longest)
    present = Tensor(element_type, (batch, groups, kept, size))
    return [Tensor(element_type, (batch, sequence, heads * size)), present, present]


def _embedding(call: Call) -> Sequence[Kind]:
    batch, sequence = call.shape(0, 2)
    table = call.tensor(2)
    hidden = call.shape(2, 2)[1]
    output = Tensor(table.element_type, (batch, sequence, hidden))
    return [output, Tensor(INT32, (batch,)), output]


def _recurrent(call: Call) -> Sequence[Kind]:
    sequence, batch, _ = call.shape(0, 3)
    hidden = call.number("hidden_size")
    directions = 2 if call.attributes.get("direction") in ("bidirectional", b"bidirectional") else 1
    state = Tensor(FLOAT, (directions, batch, hidden))
    return [Tensor(FLOAT, (sequence, directions, batch, hidden)), state, state]


def _crops(call: Call) -> Sequence[Kind]:
    _, channels, _, _ = call.shape(0, 4)
    size = call.array(3)
    if size is None or size.size != 2:
        raise NotInferable("the size of its crops is not known before it runs")
    height, width = (int(length) for length in size.ravel())
    return [Tensor(call.tensor(0).element_type, (call.shape(1)[0], channels, height, width))]


def text(call: Call, name: str) -> str:
    """An attribute that is a text; empty when it is missing."""
    value = call.attributes.get(name, "")
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


MICROSOFT_RULES: Final[Mapping[str, Rule]] = {
    **dict.fromkeys(
        (
            "BiasAdd", "BiasDropout", "BiasGelu", "BiasSoftmax", "FastGelu", "Gelu", "GroupNorm", "Inverse",
            "LongformerAttention", "QLinearLeakyRelu", "QLinearSigmoid", "QLinearSoftmax", "QuickGelu",
            "RotaryEmbedding", "SkipGroupNorm", "Trilu",
        ),
        _same,
    ),
    **dict.fromkeys(("LayerNormalization", "SimplifiedLayerNormalization"), _normalised),
    **dict.fromkeys(("SkipLayerNormalization", "SkipSimplifiedLayerNormalization"), _skip_normalised),
    "Attention": _attention,
    "BiasSplitGelu": _half_last,
    "CropAndResize": _crops,
    "DequantizeLinear": _dequantised,
    "DynamicQuantizeLSTM": _recurrent,
    "DynamicQuantizeMatMul": lambda call: _matrix(call, 1, FLOAT),
    "EmbedLayerNormalization": _embedding,
    "FusedConv": _fused_convolution,
    "FusedGemm": lambda call: _matrix(call, 1, call.tensor(0).element_type),
    "FusedMatMul": _fused_matmul,
    "FusedMatMulActivation": _fused_matmul,
    "GemmFastGelu": lambda call: _matrix(call, 1, call.tensor(0).element_type),
    "GroupQueryAttention": _group_query_attention,
    "MatMulInteger16": lambda call: _matrix(call, 1, INT32),
    "MatMulIntegerToFloat": _matmul_to_float,
    "MatMulNBits": _matmul_blocks,
    "MatMulBnb4": _matmul_blocks,
    "MultiHeadAttention": _multi_head_attention,
    "NhwcConv": _fused_convolution,
    "NhwcFusedConv": _fused_convolution,
    "NhwcMaxPool": pooling,
    "QAttention": _attention,
    "QGemm": _q_gemm,
    "QLinearAdd": _quantised_binary,
    "QLinearAveragePool": pooling,
    "QLinearConcat": _q_concat,
    "QLinearConv": _q_convolution,
    "QLinearGlobalAveragePool": pooling,
    "QLinearMul": _quantised_binary,
    "QuantizeLinear": _quantised,
    "TransposeMatMul": _fused_matmul,
}  # fmt: skip
"""Rules by operator name, for the domain `com.microsoft`."""
