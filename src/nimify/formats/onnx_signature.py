"""Inputs and outputs of an ONNX graph as a `Signature`."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import onnx

from nimify.errors import ModelError, UnsafeModel, UnsupportedModel, shortened
from nimify.formats.limits import MAX_IO_BYTES, MAX_IO_TENSORS, MAX_NAME_LENGTH, MAX_RANK
from nimify.tensors import Dim, Signature, TensorSpec, datatype_from_onnx

_KINDS = {
    "sequence_type": "a sequence",
    "map_type": "a map",
    "optional_type": "an optional value",
    "sparse_tensor_type": "a sparse tensor",
    "opaque_type": "an opaque value",
}


def read_signature(graph: onnx.GraphProto, source: str) -> Signature:
    """The signature of a graph; initializers are not inputs, even where the graph lists them among its inputs.

    Args:
        graph: The main graph of a model.
        source: The file's name, for messages.

    Raises:
        ModelError: It has no outputs, two of the same name, or one without a type.
        UnsupportedModel: It has no inputs, or a value is not a dense tensor of a served type.
        UnsafeModel: A name or shape breaks a limit.
    """
    stored = {tensor.name for tensor in graph.initializer} | {tensor.values.name for tensor in graph.sparse_initializer}
    inputs = [info for info in graph.input if info.name not in stored]
    if not graph.output:
        raise ModelError(source, "its graph has no outputs.", remedy="Export it again with at least one output.")
    if not inputs:
        raise UnsupportedModel(
            source,
            "it has no inputs, so every answer would be the same; a request must carry one tensor at least.",
            remedy="Export it with what it computes from as an input.",
        )
    return Signature(
        inputs=_specs(inputs, "input", source),
        outputs=_specs(graph.output, "output", source),
    )


def _specs(infos: Sequence[onnx.ValueInfoProto], role: str, source: str) -> tuple[TensorSpec, ...]:
    if len(infos) > MAX_IO_TENSORS:
        raise UnsafeModel(source, f"it has {len(infos)} {role}s, and the limit is {MAX_IO_TENSORS}.")
    specs: dict[str, TensorSpec] = {}
    for info in infos:
        spec = _spec(info, role, source)
        if spec.name in specs:
            raise ModelError(source, f"it has two {role}s named '{shortened(spec.name)}'.")
        specs[spec.name] = spec
    return tuple(specs.values())


def _spec(info: onnx.ValueInfoProto, role: str, source: str) -> TensorSpec:
    if not info.name:
        raise ModelError(source, f"an {role} has no name.")
    if len(info.name) > MAX_NAME_LENGTH:
        raise UnsafeModel(source, f"the name of an {role} is longer than {MAX_NAME_LENGTH} characters.")
    what = f"{role} '{shortened(info.name)}'"
    tensor_type = _tensor_type(info, what, source)
    datatype = datatype_from_onnx(tensor_type.elem_type)
    if datatype is None:
        raise UnsupportedModel(
            source,
            f"{what} has elements of type {type_name(tensor_type.elem_type)}, which no inference protocol carries.",
            remedy="Add a Cast to the graph, e.g. to FLOAT, and export it again.",
        )
    spec = TensorSpec(info.name, datatype, _shape(tensor_type.shape, what, source))
    declared = prod(dim for dim in spec.shape if isinstance(dim, int)) * (datatype.itemsize or 1)
    if declared > MAX_IO_BYTES:
        raise UnsafeModel(
            source, f"{what} is declared with at least {declared} bytes, and the limit is {MAX_IO_BYTES}."
        )
    return spec


def _tensor_type(info: onnx.ValueInfoProto, what: str, source: str) -> onnx.TypeProto.Tensor:
    kind = info.type.WhichOneof("value") if info.HasField("type") else None
    if kind is None:
        raise ModelError(source, f"{what} has no type.", remedy="Run onnx.shape_inference on it, or export it again.")
    if kind != "tensor_type":
        raise UnsupportedModel(
            source,
            f"{what} is {_KINDS.get(kind, 'of an unknown kind')}; only dense tensors are served.",
            remedy="Export the model so that it takes and gives tensors (scikit-learn: options={'zipmap': False}).",
        )
    if not info.type.tensor_type.HasField("shape"):
        raise UnsupportedModel(
            source,
            f"{what} has no shape, so its rank is unknown.",
            remedy="Run onnx.shape_inference on it, or export it with declared shapes.",
        )
    return info.type.tensor_type


def _shape(shape: onnx.TensorShapeProto, what: str, source: str) -> tuple[Dim, ...]:
    if len(shape.dim) > MAX_RANK:
        raise UnsafeModel(source, f"{what} has {len(shape.dim)} axes, and the limit is {MAX_RANK}.")
    if any(len(dim.dim_param) > MAX_NAME_LENGTH for dim in shape.dim):
        raise UnsafeModel(source, f"an axis of {what} has a name longer than {MAX_NAME_LENGTH} characters.")
    return tuple(_dim(dim) for dim in shape.dim)


def _dim(dim: onnx.TensorShapeProto.Dimension) -> Dim:
    # Exporters also write a free axis as -1.
    if dim.HasField("dim_value"):
        return dim.dim_value if dim.dim_value >= 0 else None
    return dim.dim_param or None


def type_name(number: int) -> str:
    """The name that onnx.proto gives an element type, e.g. `FLOAT8E4M3FN`."""
    try:
        return onnx.TensorProto.DataType.Name(number)
    except ValueError:
        return f"number {number}"
