"""Is the service alive and ready, and does it say so as NIM does?"""

from __future__ import annotations

from nimify.conformance.live_checks.service import LiveService, lacking, status_problem
from nimify.conformance.report import CheckResult, failed, passed

_NAME = "health"
_EXPECTED = {
    "/v1/health/live": {"object": "health.response", "message": str, "status": "live", "live": True},
    "/v1/health/ready": {"object": "health.response", "message": str, "status": "ready", "ready": True},
}


def check_health(service: LiveService) -> CheckResult:
    """Ask `/v1/health/live` and `/v1/health/ready`."""
    for path, body in _EXPECTED.items():
        answer = service.client.get(path)
        problem = status_problem(path, answer, 200) or lacking(path, answer.json(), body)
        if problem:
            return failed(_NAME, problem, "Wait until the service is ready, or look into its log.")
    return passed(_NAME, "The service is live and ready.")
