"""Whether the names in an ONNX model are text. protobuf hands over what is not UTF-8 as bytes, without a word."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import onnx

from nimify.errors import ModelError


def check_text(
    model: onnx.ModelProto, nodes: Iterable[onnx.NodeProto], tensors: Iterable[onnx.TensorProto], source: str
) -> None:
    """Check every name and text that is read out of a model.

    Raises:
        ModelError: One is not UTF-8.
    """
    for text in _texts(model, nodes, tensors):
        if not isinstance(text, str):
            raise ModelError(
                source, "it is damaged: a name in it is not UTF-8 text.", remedy="Copy or export it again."
            )


def _texts(
    model: onnx.ModelProto, nodes: Iterable[onnx.NodeProto], tensors: Iterable[onnx.TensorProto]
) -> Iterator[object]:
    yield from (model.producer_name, model.producer_version)
    yield from (opset.domain for opset in model.opset_import)
    yield from (function.domain for function in model.functions)
    yield from (text for entry in model.metadata_props for text in (entry.key, entry.value))
    yield from (text for node in nodes for text in (node.op_type, node.domain))
    for info in (*model.graph.input, *model.graph.output):
        yield info.name
        yield from (dim.dim_param for dim in info.type.tensor_type.shape.dim)
    for tensor in tensors:
        yield tensor.name
        yield from (text for entry in tensor.external_data for text in (entry.key, entry.value))
