"""Transposed convolutions and resizes as ONNX Runtime counts, where `onnx` counts otherwise."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from math import floor
from typing import Final

import numpy as np

from nimify.analysis.inference.call import Call, NotInferable
from nimify.analysis.inference.kinds import Kind, Tensor
from nimify.analysis.inference.microsoft import text


def transposed_convolution(call: Call) -> Sequence[Kind]:
    """`onnx` adds the output padding also where the name of the padding decides, and stops at small wanted lengths."""
    batch, _, *spatial = call.shape(0)
    _, channels, *kernel = call.shape(1, len(spatial) + 2)
    rank, auto_pad = len(spatial), text(call, "auto_pad")
    ones, zeros = [1] * rank, [0] * rank
    strides, dilations = call.numbers("strides") or ones, call.numbers("dilations") or ones
    added, pads = call.numbers("output_padding") or zeros, call.numbers("pads") or 2 * zeros
    wanted = call.numbers("output_shape")
    if len(pads) != 2 * rank or (wanted and len(wanted) not in (rank, rank + 2)):
        raise NotInferable("its pads or the shape that it asks for do not fit its input")
    each = zip(spatial, strides, kernel, dilations, added, strict=True)
    lengths = [(length - 1) * step + (size - 1) * gap + 1 + more for length, step, size, gap, more in each]
    if wanted:
        lengths = wanted[-rank:]
    elif auto_pad in ("SAME_UPPER", "SAME_LOWER"):
        # There is no padding to take away where the window is smaller than its stride.
        lengths = [min(full, length * step) for full, length, step in zip(lengths, spatial, strides, strict=True)]
    elif auto_pad != "VALID":
        lengths = [full - pads[axis] - pads[axis + rank] for axis, full in enumerate(lengths)]
    if min(lengths, default=0) < 0:
        raise NotInferable("its pads take away more than there is")
    return [Tensor(call.tensor(0).element_type, (batch, channels * call.number("group", 1), *lengths))]


def _resized(call: Call, kinds: Sequence[Kind]) -> Sequence[Kind]:
    """Engines multiply in single precision, in which ten times 0.9 are nine; `onnx` finds a little less."""
    if text(call, "keep_aspect_ratio_policy") in _CHOSEN_SCALE:
        return _of_one_scale(call, kinds)
    scales = call.array(1 if call.operator == "Upsample" or len(call.inputs) == 2 else 2)
    if scales is None or not scales.size or text(call, "coordinate_transformation_mode") == "tf_crop_and_resize":
        return kinds
    shape = list(call.shape(0))
    axes = call.numbers("axes") or list(range(len(shape)))
    for axis, scale in zip(axes, scales.reshape(-1), strict=True):
        shape[axis] = int(np.float32(shape[axis]) * np.float32(scale))
    return [Tensor(call.tensor(0).element_type, tuple(shape))]


def _of_one_scale(call: Call, kinds: Sequence[Kind]) -> Sequence[Kind]:
    """Every axis by the smallest or the largest of the scales that the sizes ask for; halves are rounded up."""
    sizes = call.array(3)
    if sizes is None:
        return kinds
    shape = list(call.shape(0))
    axes = call.numbers("axes") or list(range(len(shape)))
    wanted = [(axis, np.float32(size)) for axis, size in zip(axes, sizes.reshape(-1), strict=True)]
    if not all(shape[axis] for axis, _ in wanted):
        return kinds
    choose = _CHOSEN_SCALE[text(call, "keep_aspect_ratio_policy")]
    scale = choose(size / np.float32(shape[axis]) for axis, size in wanted)
    for axis, _ in wanted:
        shape[axis] = floor(float(np.float32(shape[axis]) * scale) + 0.5)
    return [Tensor(call.tensor(0).element_type, tuple(shape))]


_CHOSEN_SCALE: Final[Mapping[str, Callable[[Iterable[np.float32]], np.float32]]] = {
    "not_larger": min,
    "not_smaller": max,
}
"""Which scale counts, by `keep_aspect_ratio_policy`."""

REFINED: Final[Mapping[str, Callable[[Call, Sequence[Kind]], Sequence[Kind]]]] = {
    "Resize": _resized,
    "Upsample": _resized,
}
"""What makes of the answer of `onnx` that of engines, by operator name."""
