"""Does the service serve the bundle's openapi.json?"""

from __future__ import annotations

import json

from nimify.conformance.live_checks.service import LiveService, status_problem
from nimify.conformance.report import CheckResult, failed, passed, warned
from nimify.serving.spec import OPENAPI_FILE

_NAME = "openapi"


def check_served_openapi(service: LiveService) -> CheckResult:
    """Ask `/openapi.json`, and compare it with the bundle's."""
    answer = service.client.get("/openapi.json")
    problem = status_problem("/openapi.json", answer, 200)
    if problem:
        return failed(_NAME, problem)
    if answer.json() != _own(service):
        return warned(
            _NAME,
            f"The service serves another {OPENAPI_FILE} than the bundle holds.",
            "Start it again from this bundle.",
        )
    return passed(_NAME, f"The service serves the bundle's {OPENAPI_FILE}.")


def _own(service: LiveService) -> object:
    try:
        return json.loads((service.bundle / OPENAPI_FILE).read_bytes())
    except (OSError, ValueError):
        return None
