"""Asks `onnx` what a standard operator gives, once per combination of operator, attributes and inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil
from typing import Final

import onnx
from onnx import numpy_helper, shape_inference

from nimify.analysis.inference.call import Call, NotInferable, Rule
from nimify.analysis.inference.kinds import INT64, MAX_ELEMENTS, UNKNOWN, Array, Kind, Tensor, from_type, to_type
from nimify.analysis.inference.microsoft import pool_places
from nimify.analysis.inference.resizing import transposed_convolution
from nimify.errors import one_line, shortened

_VALUE_DEPENDENT: Final = frozenset({
    "AffineGrid", "BlackmanWindow", "CenterCropPad", "Col2Im", "ConstantOfShape", "DFT", "Expand", "HammingWindow",
    "HannWindow", "MaxUnpool", "MelWeightMatrix", "Pad", "ReduceL1", "ReduceL2", "ReduceLogSum",
    "ReduceLogSumExp", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum", "ReduceSumSquare",
    "Reshape", "Resize", "STFT", "Slice", "Split", "SplitToSequence", "Squeeze", "Tile", "TopK", "Unsqueeze",
    "Upsample",
})  # fmt: skip
"""Operators whose output's shape follows from the content of an input."""


def _same(call: Call) -> Sequence[Kind]:
    return [call.tensor(0)]


def _short_time_fourier(call: Call) -> Sequence[Kind]:
    """`onnx` forgets that only one side of the spectrum is given unless both are asked for."""
    signal, step = call.shape(0), call.array(1)
    length = call.array(3)
    frame = call.shape(2, 1)[0] if call.has(2) else int(length.item()) if length is not None else None
    if step is None or frame is None:
        raise NotInferable("the length or step of its frames is not known before it runs")
    frames = (signal[1] - frame) // int(step.item()) + 1
    bins = frame // 2 + 1 if call.number("onesided", 1) else frame
    return [Tensor(call.tensor(0).element_type, (signal[0], frames, bins, 2))]


def _one_hot(call: Call) -> Sequence[Kind]:
    indices, depth = call.shape(0), call.array(1)
    if depth is None or depth.size != 1:
        raise NotInferable("how many classes there are is not known before it runs")
    place = call.number("axis", -1) % (len(indices) + 1)
    return [Tensor(call.tensor(2).element_type, (*indices[:place], int(depth.item()), *indices[place:]))]


def _pooling(call: Call) -> Sequence[Kind]:
    """For some versions `onnx` counts windows that would start behind the end."""
    batch, channels, *spatial = call.shape(0)
    shape = (batch, channels, *pool_places(call, spatial))
    return [Tensor(call.tensor(0).element_type, shape), Tensor(INT64, shape)]


def _range(call: Call) -> Sequence[Kind]:
    """`onnx` counts only for some of the element types."""
    bounds = [call.array(position) for position in range(3)]
    if any(bound is None or bound.size != 1 for bound in bounds):
        raise NotInferable("its bounds are not known before it runs")
    start, limit, delta = (float(bound.item()) for bound in bounds if bound is not None)
    length = max(ceil((limit - start) / delta), 0)
    if length > MAX_ELEMENTS:
        raise NotInferable("it counts further than memory reaches")
    return [Tensor(call.tensor(0).element_type, (length,))]


STANDARD_RULES: Final[Mapping[str, Rule]] = {
    "AveragePool": _pooling,
    "ConvTranspose": transposed_convolution,
    "GroupNormalization": _same,
    "LpPool": _pooling,
    "MaxPool": _pooling,
    "MeanVarianceNormalization": _same,
    "OneHot": _one_hot,
    "Range": _range,
    "STFT": _short_time_fourier,
}
"""Standard operators that `onnx` does not infer, or not as engines run them."""


class StandardInference:
    """What `onnx` infers for a single node; remembers what it asked."""

    def __init__(self) -> None:
        self._known: dict[tuple[object, ...], tuple[Kind, ...] | NotInferable] = {}
        self._schemas: dict[tuple[str, str, int], onnx.defs.OpSchema | None] = {}

    def schema(self, node: onnx.NodeProto, domain: str, version: int) -> onnx.defs.OpSchema | None:
        """The definition of a node's operator, if `onnx` has one."""
        key = (domain, node.op_type, version)
        if key not in self._schemas:
            self._schemas[key] = _schema(domain, node.op_type, version)
        return self._schemas[key]

    def outputs(
        self, node: onnx.NodeProto, schema: onnx.defs.OpSchema, call: Call, opsets: Mapping[str, int]
    ) -> Sequence[Kind]:
        """What each output is.

        Raises:
            NotInferable: `onnx` finds a contradiction.
        """
        arrays = self._arrays(call)
        key = (
            schema.domain, schema.name, schema.since_version, tuple(_key(kind) for kind in call.inputs),
            call.fingerprint or b"".join(one.SerializeToString(deterministic=True) for one in node.attribute),
            tuple((position, array.dtype.str, array.shape, array.tobytes()) for position, array in arrays),
            tuple(bool(name) for name in node.output),
        )  # fmt: skip
        known = self._known.get(key)
        if known is None:
            known = _asked(node, schema, call, arrays, opsets)
            self._known[key] = known
        if isinstance(known, NotInferable):
            raise known
        return known

    def _arrays(self, call: Call) -> list[tuple[int, Array]]:
        if call.operator not in _VALUE_DEPENDENT:
            return []
        found = ((position, call.array(position)) for position in range(len(call.inputs)))
        return [(position, array) for position, array in found if array is not None and array.dtype.kind in "biuf"]


def _schema(domain: str, operator: str, version: int) -> onnx.defs.OpSchema | None:
    try:
        return onnx.defs.get_schema(operator, max(version, 1), "" if domain == "ai.onnx" else domain)
    except (onnx.defs.SchemaError, TypeError, OverflowError):
        return None


def _key(kind: Kind | None) -> object:
    return kind if kind is None or isinstance(kind, Tensor) else kind.SerializeToString(deterministic=True)


def _asked(
    node: onnx.NodeProto,
    schema: onnx.defs.OpSchema,
    call: Call,
    arrays: Sequence[tuple[int, Array]],
    opsets: Mapping[str, int],
) -> tuple[Kind, ...] | NotInferable:
    # Names do not matter here, and the file's own may be anything.
    copy = onnx.NodeProto(op_type=node.op_type, domain=schema.domain)
    copy.input.extend("" if kind is None else f"i{position}" for position, kind in enumerate(call.inputs))
    copy.output.extend(f"o{position}" if name else "" for position, name in enumerate(node.output))
    copy.attribute.extend(node.attribute)
    types = {f"i{position}": to_type(kind) for position, kind in enumerate(call.inputs) if kind is not None}
    data = {f"i{position}": numpy_helper.from_array(array) for position, array in arrays}
    imports = [onnx.helper.make_opsetid("" if name == "ai.onnx" else name, number) for name, number in opsets.items()]
    try:
        found = shape_inference.infer_node_outputs(schema, copy, types, data, opset_imports=imports)
    except (shape_inference.InferenceError, onnx.checker.ValidationError, RuntimeError, ValueError, TypeError) as error:
        return NotInferable(_reason(error))
    return tuple(from_type(found[name]) if name in found else UNKNOWN for name in copy.output)


def _reason(error: Exception) -> str:
    text = one_line(str(error)).rpartition("] ")[2]
    return f"onnx refuses it: {shortened(text, 160)}"
