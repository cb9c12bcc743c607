"""Operators that do a fixed number of operations per element: of their result, or of what they reduce."""

from __future__ import annotations

from collections.abc import Mapping
from math import log2, prod
from typing import Final

from nimify.analysis.compute.view import Rule, Uncountable, View, Work


def _per_result(operations: int) -> Rule:
    return lambda view: Work(0, operations * view.results())


def _per_input(operations: int) -> Rule:
    return lambda view: Work(0, operations * view.elements())


def _per_further_input(view: View) -> Work:
    return Work(0, max(len(view.node.inputs) - 1, 0) * view.results())


def _nothing(_: View) -> Work:
    return Work()


def _pooling(view: View) -> Work:
    return Work(0, view.results() * prod(view.numbers("kernel_shape")))


def _resize(view: View) -> Work:
    """Each element is a weighted mean of its neighbours along the axes that change."""
    mode = view.text("mode", "nearest")
    axes = sum(old != new for old, new in zip(view.shape(0), view.result(), strict=True))
    neighbours = {"linear": 2, "cubic": 4}.get(mode, 0)
    return Work(0, 2 * view.results() * neighbours**axes if neighbours else 0)


def _grid_sample(view: View) -> Work:
    axes = len(view.shape(0)) - 2
    neighbours = {"nearest": 0, "cubic": 4, "bicubic": 4}.get(view.text("mode", "linear"), 2)
    return Work(0, 2 * view.results() * neighbours**axes if neighbours else 0)


def _region_pooling(view: View) -> Work:
    """Bilinear samples; how many per place is adaptive when the attribute says 0, and four are counted then."""
    samples = view.number("sampling_ratio", 0) or 2
    return Work(0, view.results() * samples * samples * 8)


def _local_response(view: View) -> Work:
    return Work(0, view.results() * (2 * view.number("size", 5) + 3))


def _top_k(view: View) -> Work:
    chosen = view.result()[view.number("axis", -1)] if view.result() else 1
    return Work(0, int(view.elements() * max(log2(max(chosen, 1)), 1)))


def _fourier(view: View) -> Work:
    """The usual 5 n log n of a fast transform, per transform."""
    if view.node.operator == "STFT":
        frames = prod(view.result()[:2])
        length = view.shape(2)[0] if view.has(2) else 2 * (view.result()[2] - 1)
    else:
        axis = view.node.constants.get(2, view.number("axis", 1))
        if not isinstance(axis, int):
            raise Uncountable
        length = view.shape(0)[axis]
        frames = view.results() // max(2 * length, 1)
    return Work(0, int(5 * frames * length * log2(max(length, 2))))


_PER_RESULT: Final[Mapping[int, str]] = {
    1: "Abs Acos Acosh Add And Asin Asinh Atan Atanh BitShift BitwiseAnd BitwiseNot BitwiseOr BitwiseXor Ceil Cos Cosh "
       "Cast CastLike Div Equal Erf Exp Floor Greater GreaterOrEqual IsInf IsNaN Less LessOrEqual Log Mod Mul Neg Not "
       "Or PRelu Pow Reciprocal Relu Round Sign Sin Sinh Sqrt Sub Tan Tanh ThresholdedRelu Where Xor BiasAdd Imputer "
       "Binarizer CumProd Scatter ScatterElements ScatterND QLinearLeakyRelu",
    2: "BatchNormalization Clip LeakyRelu DequantizeLinear Scaler Softsign",
    3: "Celu Elu HardSigmoid QuantizeLinear Selu Softplus Shrink QLinearAdd QLinearMul RotaryEmbedding",
    4: "Sigmoid QLinearSigmoid HardSwish DynamicQuantizeLinear",
    5: "Softmax Swish Gelu FastGelu QuickGelu BiasSplitGelu QLinearSoftmax",
    6: "LogSoftmax BiasGelu BiasSoftmax Mish SwiGLU",
    # Mean, subtract, square, sum, multiply by the inverse deviation, scale, shift.
    7: "LayerNormalization InstanceNormalization GroupNormalization GroupNorm MeanVarianceNormalization",
    9: "EmbedLayerNormalization",
}  # fmt: skip
_PER_INPUT: Final[Mapping[int, str]] = {
    1: "ArgMax ArgMin CumSum GlobalAveragePool GlobalMaxPool QLinearGlobalAveragePool ReduceL1 ReduceMax ReduceMean "
       "ReduceMin ReduceProd ReduceSum Hardmax Unique NonZero QLinearReduceMean",
    2: "GlobalLpPool LpNormalization ReduceL2 ReduceSumSquare ReduceLogSum Normalizer",
    4: "ReduceLogSumExp RMSNormalization SimplifiedLayerNormalization",
    5: "SkipSimplifiedLayerNormalization",
    8: "SkipLayerNormalization SkipGroupNorm",
}  # fmt: skip
_NOTHING: Final = (
    "ArrayFeatureExtractor CategoryMapper CenterCropPad Col2Im Compress Concat ConcatFromSequence Constant "
    "ConstantOfShape DepthToSpace Dropout BiasDropout Expand EyeLike FeatureVectorizer Flatten Gather GatherElements "
    "GatherND Identity LabelEncoder MaxUnpool Multinomial OneHot OneHotEncoder Pad QLinearConcat RandomNormal "
    "RandomNormalLike RandomUniform RandomUniformLike Range Reshape ReverseSequence SequenceAt SequenceConstruct "
    "SequenceEmpty SequenceInsert SequenceLength Shape Size Slice SpaceToDepth Split SplitToSequence Squeeze "
    "StringNormalizer TfIdfVectorizer Tile Transpose Trilu Unsqueeze Upsample ZipMap Optional OptionalGetElement "
    "OptionalHasElement BitCast ImageDecoder ReorderInput ReorderOutput RegexFullMatch StringConcat "
    "StringSplit TensorScatter HannWindow HammingWindow BlackmanWindow MelWeightMatrix"
)

ELEMENTWISE: Final[Mapping[str, Rule]] = {
    **{name: _per_result(count) for count, names in _PER_RESULT.items() for name in names.split()},
    **{name: _per_input(count) for count, names in _PER_INPUT.items() for name in names.split()},
    **dict.fromkeys(_NOTHING.split(), _nothing),
    **dict.fromkeys(("Max", "Mean", "Min", "Sum"), _per_further_input),
    **dict.fromkeys(("AveragePool", "LpPool", "MaxPool", "NhwcMaxPool", "QLinearAveragePool"), _pooling),
    "DFT": _fourier,
    "GridSample": _grid_sample,
    "LRN": _local_response,
    "Resize": _resize,
    "RoiAlign": _region_pooling,
    "STFT": _fourier,
    "TopK": _top_k,
}
"""Rules by operator name."""
