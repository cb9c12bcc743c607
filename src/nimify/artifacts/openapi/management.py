"""NIM's management API under `/v1`, and the pages that describe the service."""

from __future__ import annotations

from typing import Any

from nimify.artifacts.openapi.errors import ANY_REQUEST, NIM_ERROR, error_responses
from nimify.serving.spec import ServiceSpec

_TEXT = {"type": "string"}


def management_paths() -> dict[str, Any]:
    """The management routes and pages."""
    return {
        "/v1/health/live": _get("live", "health", "Whether the process answers.", _ref("HealthLive")),
        "/v1/health/ready": _get("ready", "health", "Whether requests are answered; 503 if not.", _ref("HealthReady")),
        "/v1/models": _get("models", "management", "The model that is served.", _ref("ModelList")),
        "/v1/metadata": _get("metadata", "management", "What is served, from which files.", _ref("Metadata")),
        "/v1/version": _get("version", "management", "Release of the service and of this API.", _ref("Version")),
        "/v1/license": _get("license", "management", "The licence of the model.", _ref("License")),
        "/v1/manifest": _get("manifest", "management", "The model's files as a manifest.", _ref("Manifest")),
        "/v1/metrics": _get("metrics", "management", "Metrics for Prometheus.", _TEXT, media="text/plain"),
        "/openapi.json": _get("openapi", "documentation", "This document.", {"type": "object"}),
        "/v1/openapi.json": _get("openapiV1", "documentation", "This document.", {"type": "object"}),
        "/docs": _get("docs", "documentation", "This document, for people.", _TEXT, media="text/html"),
    }


def management_schemas(service: ServiceSpec) -> dict[str, Any]:
    """The bodies of the management routes, for `components.schemas`."""
    return {
        "HealthLive": _health("live"),
        "HealthReady": _health("ready"),
        "ModelList": _model_list(service),
        "Metadata": _metadata(service),
        "Version": _object({"release": {"const": service.version}, "api": _TEXT}),
        "License": _license(),
        "Manifest": _object({"manifest_file": _TEXT, "repository_override": _TEXT}),
    }


def _get(operation: str, tag: str, summary: str, schema: dict[str, Any], *, media: str = "application/json") -> Any:
    found = {"description": summary, "content": {media: {"schema": schema}}}
    return {
        "get": {
            "operationId": operation,
            "tags": [tag],
            "summary": summary,
            "responses": {"200": found, **error_responses(NIM_ERROR, ANY_REQUEST)},
        }
    }


def _ref(name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}"}


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "required": list(properties), "properties": properties}


def _health(word: str) -> dict[str, Any]:
    return _object(
        {"object": {"const": "health.response"}, "message": _TEXT, "status": {"const": word}, word: {"const": True}}
    )


def _model_list(service: ServiceSpec) -> dict[str, Any]:
    model = _object(
        {
            "id": {"const": service.name},
            "object": {"const": "model"},
            "created": {"type": "integer", "minimum": 0},
            "owned_by": _TEXT,
            "root": {"const": service.name},
            "parent": {"type": ["string", "null"]},
            "permission": {"type": "array"},
        }
    )
    return _object({"object": {"const": "list"}, "data": {"type": "array", "minItems": 1, "items": model}})


def _metadata(service: ServiceSpec) -> dict[str, Any]:
    short_name = {"const": f"{service.name}:{service.version}"}
    return _object(
        {
            "version": {"const": service.version},
            "assetInfo": {"type": "array", "items": _TEXT},
            "licenseInfo": _ref("License"),
            "modelInfo": {
                "type": "array",
                "minItems": 1,
                "items": _object({"shortName": short_name, "modelUrl": _TEXT}),
            },
            "repository_override": _TEXT,
            "selectedModelProfileId": _TEXT,
        }
    )


def _license() -> dict[str, Any]:
    return _object(
        {
            "name": _TEXT,
            "path": _TEXT,
            "sha": {"type": "string", "pattern": "^[0-9a-f]{40}$"},
            "size": {"type": "integer", "minimum": 0},
            "url": _TEXT,
            "type": _TEXT,
            "content": _TEXT,
        }
    )
