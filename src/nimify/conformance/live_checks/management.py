"""Does the service answer NIM's management API, and serve this bundle?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nimify.conformance.live_checks.service import LiveService, lacking, status_problem
from nimify.conformance.report import CheckResult, failed, passed
from nimify.serving.spec import ServiceSpec

_NAME = "management"


def check_management(service: LiveService) -> CheckResult:
    """Ask every management route, and compare what it says with the bundle."""
    bodies: dict[str, Any] = {}
    for path, expected in _expected(service.spec).items():
        answer = service.client.get(path)
        bodies[path] = answer.json()
        problem = status_problem(path, answer, 200) or lacking(path, bodies[path], expected)
        if problem:
            return failed(_NAME, problem)
    problem = _first_model(bodies["/v1/models"], service.spec) or _identity(bodies["/v1/metadata"], service.spec)
    if problem:
        return failed(_NAME, problem, "Is this the service of this bundle?")
    return passed(_NAME, f"It is {service.spec.name} {service.spec.version}, and every management route answers.")


def _expected(spec: ServiceSpec) -> Mapping[str, Mapping[str, Any]]:
    licence = {"name": spec.license.name, "path": str, "sha": str, "size": int, "url": str, "content": str}
    return {
        "/v1/models": {"object": "list", "data": list},
        "/v1/metadata": {"version": spec.version, "assetInfo": list, "licenseInfo": dict, "modelInfo": list},
        "/v1/version": {"release": spec.version, "api": str},
        "/v1/license": licence,
        "/v1/manifest": {"manifest_file": str, "repository_override": str},
    }


def _first_model(body: Any, spec: ServiceSpec) -> str | None:
    rows = body["data"]
    row = rows[0] if rows else None
    wanted = {"id": spec.name, "object": "model", "created": int, "owned_by": str, "root": spec.name}
    return lacking("/v1/models", row, wanted)


def _identity(body: Any, spec: ServiceSpec) -> str | None:
    rows = body["modelInfo"]
    problem = lacking("/v1/metadata", rows[0] if rows else None, {"shortName": f"{spec.name}:{spec.version}"})
    if problem:
        return problem
    digest = body.get("modelDigest", spec.model_digest)
    return None if digest == spec.model_digest else "The service runs another model file than the bundle holds."
