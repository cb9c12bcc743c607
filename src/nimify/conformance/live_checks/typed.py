"""Does `/v1/infer` do what openapi.json says?"""

from __future__ import annotations

import json
from math import prod
from typing import Any

from nimify.conformance.live_checks.service import LiveService, status_problem
from nimify.conformance.report import CheckResult, failed, passed, skipped, warned
from nimify.errors import one_line, shortened
from nimify.serving.spec import OPENAPI_FILE, ServiceSpec
from nimify.tensors import TensorSpec

_NAME = "typed-inference"
_PATH = "/v1/infer"
_MAX_ELEMENTS = 1 << 20


def check_typed_inference(service: LiveService) -> CheckResult:
    """Send the documented example, or zeros where there is none, and hold the answer against its schema."""
    document = json.loads((service.bundle / OPENAPI_FILE).read_bytes())
    request = _example(document) or _zeros(service.spec)
    if request is None:
        return skipped(_NAME, "There is no documented example, and a made-up request would be too large.")
    answer = service.client.post(_PATH, json.dumps(request).encode())
    if answer.status == 400 and _example(document) is None:
        return warned(_NAME, "The model refuses a request of zeros, and openapi.json holds no example to send.")
    problem = status_problem(_PATH, answer, 200) or _schema_problem(document, answer.json())
    if problem:
        return failed(_NAME, problem)
    if answer.json()["id"] != request["id"]:
        return failed(_NAME, f"{_PATH} did not give the request's id back.")
    return passed(_NAME, f"{_PATH} answers as openapi.json says.")


def _example(document: Any) -> dict[str, Any] | None:
    content = document["paths"][_PATH]["post"]["requestBody"]["content"]["application/json"]
    examples = list(content.get("examples", {}).values())
    return examples[0]["value"] if examples else None


def _zeros(spec: ServiceSpec) -> dict[str, Any] | None:
    if sum(_elements(tensor) for tensor in spec.api.inputs) > _MAX_ELEMENTS:
        return None
    return {"inputs": {tensor.name: _blank(tensor) for tensor in spec.api.inputs}, "id": "nimify-validate"}


def _elements(tensor: TensorSpec) -> int:
    return prod(dim if isinstance(dim, int) else 1 for dim in tensor.shape)


def _blank(tensor: TensorSpec) -> Any:
    value: Any = {"BYTES": "", "BOOL": False}.get(tensor.datatype.name, 0)
    for dim in reversed(tensor.shape):
        value = [value] * (dim if isinstance(dim, int) else 1)
    return value


def _schema_problem(document: Any, body: Any) -> str | None:
    from jsonschema import Draft202012Validator  # type: ignore[import-untyped]  # it ships no types

    schema = {"$ref": "#/components/schemas/InferResponse", "components": document["components"]}
    error = next(Draft202012Validator(schema).iter_errors(body), None)
    if error is None:
        return None
    where = "/".join(map(str, error.absolute_path))
    return f"{_PATH} answered something else than openapi.json says, at '{where}': " + shortened(
        one_line(error.message), 160
    )
