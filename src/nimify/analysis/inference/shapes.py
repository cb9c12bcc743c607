"""Arithmetic on shapes that several operators share."""

from __future__ import annotations

from collections.abc import Sequence

from nimify.analysis.inference.call import NotInferable
from nimify.analysis.inference.kinds import Shape


def broadcast(one: Shape, other: Shape) -> Shape:
    """The shape of two tensors combined element by element.

    Raises:
        NotInferable: They do not fit.
    """
    rank = max(len(one), len(other))
    pairs = zip((1,) * (rank - len(one)) + one, (1,) * (rank - len(other)) + other, strict=True)
    result = []
    for left, right in pairs:
        if left != right and 1 not in (left, right):
            raise NotInferable(f"its inputs of {list(one)} and {list(other)} do not fit together")
        result.append(right if left == 1 else left)
    return tuple(result)


def matrix_product(one: Shape, other: Shape) -> Shape:
    """The shape of `one @ other`, as numpy has it.

    Raises:
        NotInferable: They do not fit.
    """
    if not one or not other:
        raise NotInferable("it multiplies a scalar as a matrix")
    left = (1, *one) if len(one) == 1 else one
    right = (*other, 1) if len(other) == 1 else other
    if left[-1] != right[-2]:
        raise NotInferable(f"its inputs of {list(one)} and {list(other)} cannot be multiplied")
    rows = () if len(one) == 1 else left[-2:-1]
    columns = () if len(other) == 1 else right[-1:]
    return (*broadcast(left[:-2], right[:-2]), *rows, *columns)


def window(
    spatial: Sequence[int],
    kernel: Sequence[int],
    *,
    strides: Sequence[int],
    dilations: Sequence[int],
    pads: Sequence[int],
    auto_pad: str,
    ceil: bool = False,
) -> Shape:
    """How many places a window has along each axis, as in convolution and pooling.

    With `ceil`, a last window may reach over the end, as long as it starts before it.

    Raises:
        NotInferable: The lists differ in length, or the window is larger than what it slides over.
    """
    rank = len(spatial)
    strides, dilations, pads = strides or [1] * rank, dilations or [1] * rank, pads or [0] * (2 * rank)
    if not len(kernel) == len(strides) == len(dilations) == rank or len(pads) != 2 * rank or min(strides) < 1:
        raise NotInferable("its kernel, strides, dilations and pads do not fit its input")
    places = []
    for axis, length in enumerate(spatial):
        if auto_pad in ("SAME_UPPER", "SAME_LOWER"):
            places.append(-(-length // strides[axis]))
            continue
        before, after = (0, 0) if auto_pad == "VALID" else (pads[axis], pads[axis + rank])
        way = before + length + after - dilations[axis] * (kernel[axis] - 1) - 1
        steps = way // strides[axis]
        if ceil and way % strides[axis] and (steps + 1) * strides[axis] < before + length:
            steps += 1
        places.append(steps + 1)
    if min(places, default=1) < 0:
        raise NotInferable("its window is larger than its input")
    return tuple(places)
