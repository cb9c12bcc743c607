"""What the service and its model are, as the Open Inference Protocol tells it over every transport."""

from __future__ import annotations

from typing import Any, Final

from nimify.serving.spec import ServiceSpec
from nimify.tensors import TensorSpec
from nimify.version import __version__

_EXTENSIONS: Final = (
    "binary_tensor_data",
    "classification",
    "model_configuration",
    "parameters",
    "schedule_policy",
    "statistics",
)


def server_metadata() -> dict[str, Any]:
    """What the server is, and what it offers beside the protocol's core."""
    return {"name": "nimify", "version": __version__, "extensions": list(_EXTENSIONS)}


def model_metadata(spec: ServiceSpec) -> dict[str, Any]:
    """What the model takes and gives."""
    return {
        "name": spec.name,
        "versions": [spec.model_version],
        "platform": f"{spec.engine}_onnx",
        "inputs": [_described(tensor) for tensor in spec.signature.inputs],
        "outputs": [_described(tensor) for tensor in spec.signature.outputs],
    }


def _described(tensor: TensorSpec) -> dict[str, Any]:
    return {"name": tensor.name, "datatype": tensor.datatype.name, "shape": tensor.protocol_shape}
