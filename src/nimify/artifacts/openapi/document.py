"""The OpenAPI document of a service, put together from its parts."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from nimify.analysis.analysis import GoldenCase
from nimify.artifacts.artifact import Artifact, json_artifact
from nimify.artifacts.openapi.errors import error_components, error_schemas
from nimify.artifacts.openapi.management import management_paths, management_schemas
from nimify.artifacts.openapi.model_information import model_information_paths, model_information_schemas
from nimify.artifacts.openapi.protocol import protocol_paths, protocol_schemas
from nimify.artifacts.openapi.typed import typed_paths, typed_schemas
from nimify.planning.plan import ServicePlan
from nimify.serving.spec import OPENAPI_FILE, ServiceSpec

_TAGS: Final = (
    ("inference", "The service's own API, typed."),
    ("health", "What orchestrators ask."),
    ("management", "What the service says of itself."),
    ("open inference protocol", "Raw tensors, as Triton's and KServe's clients send them."),
    ("documentation", "This document."),
)


def openapi_artifact(plan: ServicePlan, cases: Iterable[GoldenCase] = ()) -> Artifact:
    """The openapi.json of a plan, with the first golden case as its worked example."""
    return json_artifact(OPENAPI_FILE, openapi_document(plan.service, next(iter(cases), None)))


def openapi_document(service: ServiceSpec, case: GoldenCase | None = None) -> dict[str, Any]:
    """What a service speaks, as an OpenAPI 3.1 document."""
    return {
        "openapi": "3.1.0",
        "info": _info(service),
        "tags": [{"name": name, "description": text} for name, text in _TAGS],
        "paths": {
            **typed_paths(service, case),
            **management_paths(),
            **protocol_paths(service, case),
            **model_information_paths(service),
        },
        "components": {
            "schemas": {
                **typed_schemas(service),
                **management_schemas(service),
                **protocol_schemas(service),
                **model_information_schemas(service),
                **error_schemas(),
            },
            "responses": error_components(),
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "apiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
            },
        },
        # Whether keys are asked for is decided when the service is started.
        "security": [{}, {"bearer": []}, {"apiKey": []}],
        "x-nimify-model-digest": service.model_digest,
        "x-nimify-max-batch-size": service.max_batch_size,
    }


def _info(service: ServiceSpec) -> dict[str, Any]:
    info: dict[str, Any] = {
        "title": service.name,
        "version": service.version,
        "summary": f"Inference with the model {service.name}.",
    }
    if service.description:
        info["description"] = service.description
    if service.license.name:
        info["license"] = {"name": service.license.name}
        if service.license.url.startswith(("https://", "http://")):
            info["license"]["url"] = service.license.url
    return info
