"""`/v2`: what clients of Triton ask beside inference: configuration, statistics, the repository's index."""

from __future__ import annotations

from typing import Any, Final

from nimify.artifacts.openapi.errors import ANY_REQUEST, INFERENCE, PROTOCOL_ERROR, error_responses
from nimify.serving.model_configuration import model_configuration
from nimify.serving.spec import ServiceSpec

_COUNT: Final = {"type": "integer", "minimum": 0}
_TEXT: Final = {"type": "string"}
_PARTS: Final = (
    "success",
    "fail",
    "queue",
    "compute_input",
    "compute_infer",
    "compute_output",
    "cache_hit",
    "cache_miss",
)


def model_information_paths(service: ServiceSpec) -> dict[str, Any]:
    """The routes for the one model that is served."""
    paths: dict[str, Any] = {
        "/v2/models/stats": _operation("get", "allStatistics", "What every model has done.", "ModelStatistics"),
        "/v2/repository/index": _operation("post", "repositoryIndex", "The models that there are.", "RepositoryIndex"),
    }
    model = f"/v2/models/{service.name}"
    for base, suffix in ((model, ""), (f"{model}/versions/{service.model_version}", "Version")):
        paths[f"{base}/config"] = _operation(
            "get", f"model{suffix}Config", "The model's configuration, in Triton's words.", "ModelConfiguration"
        )
        paths[f"{base}/stats"] = _operation(
            "get", f"model{suffix}Statistics", "What the model has done.", "ModelStatistics"
        )
    return paths


def model_information_schemas(service: ServiceSpec) -> dict[str, Any]:
    """Their bodies, for `components.schemas`."""
    configuration = list(model_configuration(service))
    return {
        "ModelConfiguration": {
            "type": "object",
            "required": configuration,
            "properties": {"name": {"const": service.name}, "max_batch_size": {"const": service.max_batch_size}},
        },
        "ModelStatistics": _object({"model_stats": {"type": "array", "items": _statistics(service)}}),
        "RepositoryIndex": {"type": "array", "items": _index_row(service)},
        "RepositoryIndexRequest": {"type": "object", "properties": {"ready": {"type": "boolean"}}},
    }


def _operation(method: str, operation: str, summary: str, schema: str) -> dict[str, Any]:
    found = {
        "description": summary,
        "content": {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}},
    }
    described: dict[str, Any] = {
        "operationId": operation,
        "tags": ["open inference protocol"],
        "summary": summary,
        "responses": {"200": found, **error_responses(PROTOCOL_ERROR, ANY_REQUEST)},
    }
    if method == "post":
        body = {"schema": {"$ref": f"#/components/schemas/{schema}Request"}}
        described["requestBody"] = {"required": False, "content": {"application/json": body}}
        described["responses"] |= error_responses(PROTOCOL_ERROR, INFERENCE)
    return {method: described}


def _statistics(service: ServiceSpec) -> dict[str, Any]:
    duration = _object({"count": _COUNT, "ns": _COUNT})
    compute = {name: duration for name in _PARTS if name.startswith("compute_")}
    return _object(
        {
            "name": {"const": service.name},
            "version": {"const": service.model_version},
            "last_inference": {**_COUNT, "description": "Unix milliseconds; 0 before the first."},
            "inference_count": _COUNT,
            "execution_count": _COUNT,
            "inference_stats": _object(dict.fromkeys(_PARTS, duration)),
            "batch_stats": {"type": "array", "items": _object({"batch_size": _COUNT, **compute})},
        }
    )


def _index_row(service: ServiceSpec) -> dict[str, Any]:
    row = _object(
        {
            "name": {"const": service.name},
            "version": {"const": service.model_version},
            "state": {"enum": ["READY", "LOADING", "UNAVAILABLE"]},
        }
    )
    return {**row, "properties": {**row["properties"], "reason": _TEXT}}


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "required": list(properties), "properties": properties}
