"""ONNX Runtime's convolutions on blocked channels (`com.microsoft.nchwc`), in models that it optimised for one CPU.

Channels are padded to whole blocks, so these cost a little more than the convolutions that they replace.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from nimify.analysis.inference.call import Call, NotInferable, Rule
from nimify.analysis.inference.kinds import Kind, Tensor
from nimify.analysis.inference.microsoft import convolution, pooling, text


def _reorder_input(call: Call) -> Sequence[Kind]:
    shape = call.shape(0, 4)
    if call.number("channels_last", 0):
        shape = (shape[0], shape[3], shape[1], shape[2])
    return [Tensor(call.tensor(0).element_type, shape)]


def _reorder_output(call: Call) -> Sequence[Kind]:
    """The padding goes; how many channels there really are stands in an attribute."""
    batch, _, height, width = call.shape(0, 4)
    channels = call.number("channels")
    last = call.number("channels_last", 0)
    shape = (batch, height, width, channels) if last else (batch, channels, height, width)
    return [Tensor(call.tensor(0).element_type, shape)]


def _convolution(call: Call) -> Sequence[Kind]:
    return convolution(call, weights=1, element_type=call.tensor(0).element_type)


def _global_pooling(call: Call) -> Sequence[Kind]:
    batch, channels, _, _ = call.shape(0, 4)
    return [Tensor(call.tensor(0).element_type, (batch, channels, 1, 1))]


def _upsample(call: Call) -> Sequence[Kind]:
    shape, scales = call.shape(0, 4), call.numbers("scales")
    if len(scales) != 4 or text(call, "mode") not in ("", "nearest", "linear"):
        raise NotInferable("its scales are not one per axis")
    lengths = tuple(length * scale for length, scale in zip(shape, scales, strict=True))
    return [Tensor(call.tensor(0).element_type, lengths)]


BLOCKED_RULES: Final[Mapping[str, Rule]] = {
    "AveragePool": pooling,
    "Conv": _convolution,
    "GlobalAveragePool": _global_pooling,
    "GlobalMaxPool": _global_pooling,
    "MaxPool": pooling,
    "ReorderInput": _reorder_input,
    "ReorderOutput": _reorder_output,
    "Upsample": _upsample,
}
"""Rules by operator name."""
