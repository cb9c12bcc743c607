"""Does the service refuse wrong requests with the right code, in the right envelope?"""

from __future__ import annotations

from dataclasses import dataclass

from nimify.conformance.client import Answer
from nimify.conformance.live_checks.service import LiveService, lacking, status_problem
from nimify.conformance.report import CheckResult, failed, passed

_NAME = "error-envelopes"


@dataclass(frozen=True, slots=True)
class _WrongRequest:
    method: str
    path: str
    body: bytes | None
    status: int


def check_error_envelopes(service: LiveService) -> CheckResult:
    """Send wrong requests of each kind."""
    requests = _wrong_requests(service.spec.name)
    for request in requests:
        headers = {"Content-Type": "application/json"} if request.body is not None else {}
        answer = service.client.send(request.method, request.path, request.body, headers)
        problem = status_problem(f"{request.method} {request.path}", answer, request.status)
        problem = problem or _envelope_problem(request, answer)
        if problem:
            return failed(_NAME, problem)
    return passed(_NAME, f"All {len(requests)} wrong requests were refused in the right envelope.")


def _wrong_requests(model: str) -> tuple[_WrongRequest, ...]:
    return (
        _WrongRequest("GET", "/v1/no-such-route", None, 404),
        _WrongRequest("GET", "/v1/infer", None, 405),
        _WrongRequest("POST", "/v1/infer", b"{", 400),
        _WrongRequest("POST", "/v1/infer", b'{"inputs": {"no such input \\u0000": [1]}}', 400),
        _WrongRequest("GET", "/v2/models/no-such-model", None, 404),
        _WrongRequest("POST", "/v2/models/no-such-model/infer", b"{}", 404),
        _WrongRequest("GET", f"/v2/models/{model}/versions/999", None, 404),
        _WrongRequest("POST", f"/v2/models/{model}/infer", b"[1]", 400),
        _WrongRequest("POST", f"/v2/models/{model}/infer", b'{"inputs": []}', 400),
    )


def _envelope_problem(request: _WrongRequest, answer: Answer) -> str | None:
    where, body = f"{request.method} {request.path}", answer.json()
    if answer.content_type != "application/json":
        return f"{where} was refused as '{answer.content_type}' instead of application/json."
    if request.path.startswith("/v2"):
        return lacking(where, body, {"error": str})
    details = {"message": str, "type": str, "code": request.status}
    problem = lacking(where, body, {"object": "error", **details, "param": None, "error": dict})
    return problem or lacking(f"{where} under 'error'", body["error"], details)
