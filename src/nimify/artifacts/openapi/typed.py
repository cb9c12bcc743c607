"""`POST /v1/infer`: the service's typed API, in the words of its signature after the processors."""

from __future__ import annotations

from typing import Any, Final

import orjson

from nimify.analysis.analysis import Array, GoldenCase
from nimify.artifacts.openapi.errors import INFERENCE, NIM_ERROR, error_responses
from nimify.artifacts.openapi.tensors import input_schema, output_schema
from nimify.serving.json_tensors import json_ready
from nimify.serving.spec import ServiceSpec
from nimify.tensors import TensorSpec

EXAMPLE_ELEMENTS: Final = 1024
"""A longer example would hide the document."""
_MAX_TIMEOUT_US: Final = 2**53
_MAX_ID: Final = 256


def typed_paths(service: ServiceSpec, case: GoldenCase | None) -> dict[str, Any]:
    """The path of `/v1/infer`, with the golden case as its worked example where it is small."""
    request: dict[str, Any] = {"schema": {"$ref": "#/components/schemas/InferRequest"}}
    response: dict[str, Any] = {"schema": {"$ref": "#/components/schemas/InferResponse"}}
    if case is not None and (sent := _request_example(service, case)) is not None:
        request["examples"] = {case.name: {"value": sent}}
        if (answered := _response_example(service, case)) is not None:
            response["examples"] = {case.name: {"value": answered}}
    operation = {
        "operationId": "infer",
        "tags": ["inference"],
        "summary": f"Ask {service.name}.",
        "requestBody": {"required": True, "content": {"application/json": request}},
        "responses": {
            "200": {"description": "The answer.", "content": {"application/json": response}},
            **error_responses(NIM_ERROR, INFERENCE),
        },
    }
    return {"/v1/infer": {"post": operation}}


def typed_schemas(service: ServiceSpec) -> dict[str, Any]:
    """The request and the response of `/v1/infer`, for `components.schemas`."""
    rows = service.max_batch_size
    inputs = {spec.name: input_schema(spec, rows) for spec in service.api.inputs}
    outputs = {spec.name: output_schema(spec, rows) for spec in service.api.outputs}
    names = [spec.name for spec in service.api.outputs]
    return {
        "InferRequest": {
            "type": "object",
            "required": ["inputs"],
            "properties": {
                "inputs": {
                    "type": "object",
                    "required": list(inputs),
                    "properties": inputs,
                    "additionalProperties": False,
                },
                "outputs": {
                    "type": ["array", "null"],
                    "description": "Which outputs to give; all when left out.",
                    "items": {"enum": names},
                    "minItems": 1,
                    "uniqueItems": True,
                },
                "id": {"type": "string", "maxLength": _MAX_ID, "description": "Comes back with the answer."},
                "parameters": {
                    "type": ["object", "null"],
                    "properties": {
                        "timeout": {
                            "type": "integer",
                            "minimum": 0,
                            "maximum": _MAX_TIMEOUT_US,
                            "description": "Microseconds to wait at most; 0 for as long as the service allows.",
                        }
                    },
                    "additionalProperties": False,
                },
            },
            "additionalProperties": False,
        },
        "InferResponse": {
            "type": "object",
            "required": ["outputs", "model", "id"],
            "properties": {
                "outputs": {
                    "type": "object",
                    "description": "All outputs, or those that were asked for.",
                    "minProperties": 1,
                    "properties": outputs,
                    "additionalProperties": False,
                },
                "model": {"const": service.name},
                "id": {"type": "string", "description": "The id of the request; one is made when it has none."},
            },
            "additionalProperties": False,
        },
    }


def _request_example(service: ServiceSpec, case: GoldenCase) -> dict[str, Any] | None:
    """The golden request, where clients send what the model takes."""
    if service.api.inputs != service.signature.inputs:
        return None
    inputs = _values(service.api.inputs, case.inputs)
    return None if inputs is None else {"inputs": inputs, "id": case.name}


def _response_example(service: ServiceSpec, case: GoldenCase) -> dict[str, Any] | None:
    """The golden response, where clients get what the model gives."""
    if service.api.outputs != service.signature.outputs or service.pipeline.after or service.pipeline.before:
        return None
    outputs = _values(service.api.outputs, case.outputs)
    return None if outputs is None else {"outputs": outputs, "model": service.name, "id": case.name}


def _values(specs: tuple[TensorSpec, ...], arrays: Any) -> dict[str, Any] | None:
    if sum(arrays[spec.name].size for spec in specs) > EXAMPLE_ELEMENTS:
        return None
    return {spec.name: _json_value(arrays[spec.name], spec) for spec in specs}


def _json_value(array: Array, spec: TensorSpec) -> Any:
    # Through orjson and back, so that a float32 reads 0.1 and not 0.10000000149011612.
    if not array.shape:
        return _json_value(array.reshape(1), spec)[0]
    return orjson.loads(orjson.dumps(json_ready(array, spec.datatype), option=orjson.OPT_SERIALIZE_NUMPY))
