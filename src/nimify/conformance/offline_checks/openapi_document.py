"""Is openapi.json valid OpenAPI, and about this service?"""

from __future__ import annotations

import json
from typing import Any

from nimify.artifacts.bundle import Bundle
from nimify.conformance.report import CheckResult, failed, passed
from nimify.errors import one_line, shortened
from nimify.serving.spec import OPENAPI_FILE

_NAME = "openapi"


def check_openapi_document(bundle: Bundle) -> CheckResult:
    """Validate openapi.json against the OpenAPI 3.1 schema, and compare its names with the signature."""
    try:
        document = json.loads((bundle.path / OPENAPI_FILE).read_bytes())
    except ValueError:
        return failed(_NAME, f"{OPENAPI_FILE} is not valid JSON.")
    problem = _problem(document)
    if problem:
        return failed(_NAME, f"{OPENAPI_FILE} is not valid OpenAPI: {problem}")
    service = bundle.service
    schemas = document.get("components", {}).get("schemas", {})
    inputs = _properties(schemas, "InferRequest", "inputs")
    outputs = _properties(schemas, "InferResponse", "outputs")
    if inputs != [spec.name for spec in service.api.inputs] or outputs != [spec.name for spec in service.api.outputs]:
        return failed(_NAME, f"{OPENAPI_FILE} names other inputs or outputs than the plan.", "Run: nimify create MODEL")
    return passed(_NAME, f"{OPENAPI_FILE} is valid OpenAPI 3.1 and describes {len(document['paths'])} paths.")


def _problem(document: Any) -> str | None:
    from openapi_spec_validator import OpenAPIV31SpecValidator

    if not isinstance(document, dict):
        return "it is not an object."
    error = next(iter(OpenAPIV31SpecValidator(document).iter_errors()), None)
    if error is None:
        return None
    where = "/".join(map(str, getattr(error, "absolute_path", ())))
    return shortened(one_line(f"{error.message} (at '{where}')"), 240)


def _properties(schemas: Any, name: str, field: str) -> list[str]:
    try:
        return list(schemas[name]["properties"][field]["properties"])
    except (KeyError, TypeError):
        return []
