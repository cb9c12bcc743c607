"""`/v2`: the Open Inference Protocol, raw tensors as the engine takes and gives them."""

from __future__ import annotations

import json
from typing import Any, Final

from nimify.analysis.analysis import GoldenCase
from nimify.artifacts.golden import record
from nimify.artifacts.openapi.errors import ANY_REQUEST, INFERENCE, PROTOCOL_ERROR, error_responses
from nimify.artifacts.openapi.tensors import described
from nimify.artifacts.openapi.typed import EXAMPLE_ELEMENTS
from nimify.serving.open_inference import HEADER_LENGTH, MAX_TENSORS
from nimify.serving.spec import ServiceSpec
from nimify.tensors import TensorSpec

_BINARY: Final = "application/octet-stream"
_SCALAR: Final = {"type": ["string", "number", "boolean"]}
_LENGTH: Final = {
    "description": "How many bytes of the body are JSON; the raw tensors follow them.",
    "schema": {"type": "integer", "minimum": 0},
}


def protocol_paths(service: ServiceSpec, case: GoldenCase | None) -> dict[str, Any]:
    """The routes of the protocol for the one model that is served; a small golden case is their example."""
    paths: dict[str, Any] = {
        "/v2": _get("serverMetadata", "Name, version and extensions of the server.", "ServerMetadata"),
        "/v2/health/live": _get("serverLive", "Whether the process answers.", None),
        "/v2/health/ready": _get("serverReady", "Whether requests are answered; 400 if not.", None),
    }
    model = f"/v2/models/{service.name}"
    for base, suffix in ((model, ""), (f"{model}/versions/{service.model_version}", "Version")):
        paths[base] = _get(f"model{suffix}Metadata", "The model's inputs and outputs.", "ModelMetadata")
        paths[f"{base}/ready"] = _get(f"model{suffix}Ready", "Whether the model answers; 400 if not.", None)
        paths[f"{base}/infer"] = {"post": _infer(f"model{suffix}Infer", _examples(service, case))}
    return paths


def protocol_schemas(service: ServiceSpec) -> dict[str, Any]:
    """The bodies of the protocol, for `components.schemas`."""
    signature = service.signature
    return {
        "ServerMetadata": _object(
            {
                "name": {"type": "string"},
                "version": {"type": "string"},
                "extensions": {"type": "array", "items": {"type": "string"}},
            }
        ),
        "ModelMetadata": _object(
            {
                "name": {"const": service.name},
                "versions": {"const": [service.model_version]},
                "platform": {"type": "string"},
                "inputs": {"const": [_row(spec) for spec in signature.inputs]},
                "outputs": {"const": [_row(spec) for spec in signature.outputs]},
            }
        ),
        "ProtocolRequest": _request(service),
        "ProtocolResponse": _response(service),
    }


def _row(spec: TensorSpec) -> dict[str, Any]:
    return {"name": spec.name, "datatype": spec.datatype.name, "shape": spec.protocol_shape}


def _get(operation: str, summary: str, schema: str | None) -> dict[str, Any]:
    found: dict[str, Any] = {"description": summary}
    if schema is not None:
        found["content"] = {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}}
    return {
        "get": {
            "operationId": operation,
            "tags": ["open inference protocol"],
            "summary": summary,
            "responses": {"200": found, **error_responses(PROTOCOL_ERROR, ANY_REQUEST)},
        }
    }


def _examples(service: ServiceSpec, case: GoldenCase | None) -> tuple[dict[str, Any], dict[str, Any]]:
    """The golden case as it is recorded for a request and for a response, each an addition to a media type."""
    if case is None or sum(array.size for array in (*case.inputs.values(), *case.outputs.values())) > EXAMPLE_ELEMENTS:
        return {}, {}
    recorded = record(service, case)
    if recorded.request.header_length is not None:
        return {}, {}
    request, response = (
        {"examples": {case.name: {"value": json.loads(body.content)}}} for body in (recorded.request, recorded.response)
    )
    return request, response


def _infer(operation: str, examples: tuple[dict[str, Any], dict[str, Any]]) -> dict[str, Any]:
    binary = {"schema": {"type": "string", "format": "binary", "contentMediaType": _BINARY}}
    return {
        "operationId": operation,
        "tags": ["open inference protocol"],
        "summary": "Run the model on raw tensors.",
        "description": (
            "Tensors travel as JSON, or as raw bytes behind the JSON (the binary tensor data extension). The data of "
            "a tensor must have as many elements as its shape says, which a schema cannot express."
        ),
        "parameters": [{"name": HEADER_LENGTH, "in": "header", "required": False, **_LENGTH}],
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {"schema": {"$ref": "#/components/schemas/ProtocolRequest"}, **examples[0]},
                _BINARY: binary,
            },
        },
        "responses": {
            "200": {
                "description": "The answer.",
                "headers": {HEADER_LENGTH: _LENGTH},
                "content": {
                    "application/json": {"schema": {"$ref": "#/components/schemas/ProtocolResponse"}, **examples[1]},
                    _BINARY: binary,
                },
            },
            **error_responses(PROTOCOL_ERROR, INFERENCE),
        },
    }


def _request(service: ServiceSpec) -> dict[str, Any]:
    specs = service.signature.inputs
    return _object(
        {
            "inputs": {
                "type": "array",
                "description": f"One of each: {', '.join(described(spec) for spec in specs)}.",
                "minItems": len(specs),
                "maxItems": len(specs),
                "items": {"anyOf": [_tensor(spec, service.max_batch_size) for spec in specs]},
            }
        },
        optional={
            "id": {"type": ["string", "null"]},
            "parameters": _parameters(),
            "outputs": {
                "type": ["array", "null"],
                "maxItems": MAX_TENSORS,
                "items": _object(
                    {"name": {"enum": [spec.name for spec in service.signature.outputs]}},
                    optional={"parameters": _parameters()},
                ),
            },
        },
    )


def _response(service: ServiceSpec) -> dict[str, Any]:
    row = _object(
        {
            "name": {"enum": [spec.name for spec in service.signature.outputs]},
            "datatype": {"type": "string"},
            "shape": {"type": "array", "items": {"type": "integer", "minimum": 0}},
        },
        optional={"data": {"type": "array"}, "parameters": _parameters()},
    )
    return _object(
        {
            "model_name": {"const": service.name},
            "model_version": {"const": service.model_version},
            "outputs": {"type": "array", "minItems": 1, "items": row},
        },
        optional={"id": {"type": "string"}},
    )


def _tensor(spec: TensorSpec, max_batch_size: int) -> dict[str, Any]:
    axes: list[dict[str, Any]] = [
        {"const": dim} if isinstance(dim, int) else {"type": "integer", "minimum": 0} for dim in spec.shape
    ]
    if max_batch_size:
        axes[0] = {"type": "integer", "minimum": 1, "maximum": max_batch_size}
    shape: dict[str, Any] = {"type": "array", "minItems": len(axes), "maxItems": len(axes)}
    if axes:
        shape["prefixItems"] = axes
    return _object(
        {
            "name": {"const": spec.name},
            "datatype": {"const": spec.datatype.name},
            "shape": shape,
            "data": {"type": "array", "description": "Row-major, flat or nested as the shape says."},
        },
        optional={"parameters": _parameters()},
    )


def _parameters() -> dict[str, Any]:
    return {"type": ["object", "null"], "additionalProperties": _SCALAR}


def _object(required: dict[str, Any], *, optional: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"type": "object", "required": list(required), "properties": {**required, **(optional or {})}}
