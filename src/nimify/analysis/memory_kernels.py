"""Which kernels of ONNX Runtime's CPU provider work in place, and what scratch memory they take.

These are facts about the kernels, not fitted figures. A kernel that is missing here takes no scratch memory worth
counting: blocked convolutions and matrix products pack into a fixed buffer of some hundred kilobytes for each thread.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import prod
from typing import Final

from nimify.analysis.graph import ELEMENT_BITS, Node, Value

ALIASES: Final = frozenset({"Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Dropout", "Optional"})
"""Operators whose output is their first input under another shape."""

IN_PLACE: Final = frozenset({
    "Abs", "Add", "Ceil", "Celu", "Clip", "Cos", "Div", "Elu", "Erf", "Exp", "Floor", "Gelu", "HardSigmoid",
    "HardSwish", "LeakyRelu", "Log", "Mish", "Mod", "Mul", "Neg", "Not", "Pow", "PRelu", "Reciprocal", "Relu", "Round",
    "Selu", "Sigmoid", "Sign", "Sin", "Softmax", "Softplus", "Softsign", "Sqrt", "Sub", "Sum", "Tanh",
    "ThresholdedRelu", "Where",
})  # fmt: skip
"""Operators that may write over an input that nobody needs afterwards."""

SUMS: Final = frozenset({"Add", "Sum"})
"""Operators that join a residual connection."""

FOLLOWS_CONVOLUTION: Final = frozenset({"BatchNormalization"})
"""Operators that are folded into the convolution before them."""

HALF_PRECISION: Final = frozenset({"FLOAT16", "BFLOAT16"})
"""Types for which the provider has hardly any kernels: their tensors are computed in, and widened to, FP32."""

_LOSES_BATCH: Final = frozenset({"Resize", "Upsample"})

_FLOAT_BYTES: Final = 4

Shapes = Mapping[str, Value]


def resident_bytes(value: Value) -> int:
    """Bytes of a tensor while the model runs on the CPU; 0 when unknown."""
    size = value.size_bytes or 0
    if value.element_type in HALF_PRECISION:
        return size * 32 // ELEMENT_BITS[value.element_type]
    return size


def loses_batch(node: Node) -> bool:
    """Whether the engine no longer knows the batch axis of a result by name.

    No two such tensors are known to be of the same size, so that none takes the memory of another. A `Reshape` keeps
    the name when it copies the first axis; where the axis is what is left (-1), nothing is known of it.
    """
    if node.operator == "Reshape":
        target = node.constants.get(1)
        return isinstance(target, list) and -1 in target and target[0] != 0
    return node.operator in _LOSES_BATCH


def scratch_bytes(node: Node, values: Shapes) -> tuple[int, ...]:
    """Sizes of the scratch buffers that a node's kernel takes while it runs."""
    kernel = _SCRATCH.get(node.operator)
    return () if kernel is None else tuple(size for size in kernel(node, values) if size > 0)


def gathered_bytes(node: Node, values: Shapes) -> int:
    """What the iterations of a Loop gave, kept outside the arena until the loop ends and all are joined.

    Outputs beyond the carried states are gathered.
    """
    if node.operator != "Loop":
        return 0
    carried = max(0, len(node.inputs) - 2)
    return sum(resident_bytes(values[name]) for name in node.outputs[carried:] if name in values)


def _shape(node: Node, position: int, values: Shapes) -> tuple[int, ...]:
    name = node.inputs[position] if position < len(node.inputs) else ""
    value = values.get(name)
    return () if value is None or value.shape is None else value.shape


def _output_shape(node: Node, values: Shapes) -> tuple[int, ...]:
    value = values.get(node.outputs[0])
    return () if value is None or value.shape is None else value.shape


def _plain_convolution(node: Node, values: Shapes) -> tuple[int, ...]:
    """The columns of one image, where there are fewer output positions than filters; blocked ones take nothing."""
    weights, y = _shape(node, 1, values), _output_shape(node, values)
    blocked = len(weights) == 4 and values[node.inputs[1]].stored
    if blocked or len(weights) < 3 or len(y) != len(weights) or prod(weights[2:]) == 1:
        return ()
    positions = prod(y[2:])
    columns = positions * prod(weights[1:]) * _FLOAT_BYTES
    return (columns,) if weights[0] // node.attributes.get("group", 1) > positions else ()


def _transposed_convolution(node: Node, values: Shapes) -> tuple[int, ...]:
    """The columns of one image: every input position with its whole kernel window of every output channel."""
    x, weights = _shape(node, 0, values), _shape(node, 1, values)
    if len(x) < 3 or len(weights) != len(x):
        return ()
    return (prod(weights[1:]) * prod(x[2:]) * _FLOAT_BYTES,)


def _quantized_convolution(node: Node, values: Shapes) -> tuple[int, ...]:
    """One image with its channels last, its result so, and the result in 32 bits."""
    x, y = _shape(node, 0, values), _output_shape(node, values)
    return (prod(x[1:]), prod(y[1:]), _FLOAT_BYTES * prod(y[1:])) if len(x) > 2 and len(y) > 2 else ()


def _recurrent(gates: int) -> Callable[[Node, Shapes], tuple[int, ...]]:
    def scratch(node: Node, values: Shapes) -> tuple[int, ...]:
        """All gates of all steps, which are computed from the inputs by one matrix product."""
        x, kernels = _shape(node, 0, values), _shape(node, 2, values)
        if len(x) != 3 or len(kernels) != 3:
            return ()
        return (x[0] * x[1] * gates * kernels[2] * _FLOAT_BYTES,) * kernels[0]

    return scratch


def _error_function(node: Node, values: Shapes) -> tuple[int, ...]:
    """An error function is part of a GELU, whose fused kernel keeps one more tensor."""
    return (resident_bytes(values[node.outputs[0]]),) if node.outputs[0] in values else ()


_SCRATCH: Final[Mapping[str, Callable[[Node, Shapes], tuple[int, ...]]]] = {
    "Conv": _plain_convolution,
    "ConvTranspose": _transposed_convolution,
    "QLinearConv": _quantized_convolution,
    "LSTM": _recurrent(4),
    "GRU": _recurrent(3),
    "RNN": _recurrent(1),
    "Erf": _error_function,
}
