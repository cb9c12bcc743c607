"""Does the service speak the Open Inference Protocol about this model?"""

from __future__ import annotations

from typing import Any

from nimify.conformance.live_checks.service import LiveService, lacking, status_problem
from nimify.conformance.report import CheckResult, failed, passed
from nimify.tensors import TensorSpec

_NAME = "protocol"


def check_protocol(service: LiveService) -> CheckResult:
    """Ask every GET route of `/v2`, with the version in the path and without."""
    spec = service.spec
    model = f"/v2/models/{spec.name}"
    described = {
        "name": spec.name,
        "versions": list,
        "platform": str,
        "inputs": [_row(tensor) for tensor in spec.signature.inputs],
        "outputs": [_row(tensor) for tensor in spec.signature.outputs],
    }
    expected: dict[str, dict[str, Any] | None] = {
        "/v2": {"name": str, "version": str, "extensions": list},
        "/v2/health/live": None,
        "/v2/health/ready": None,
    }
    for base in (model, f"{model}/versions/{spec.model_version}"):
        expected |= {base: described, f"{base}/ready": None}
    for path, body in expected.items():
        answer = service.client.get(path)
        problem = status_problem(path, answer, 200) or (body and lacking(path, answer.json(), body))
        if problem:
            return failed(_NAME, problem)
    return passed(_NAME, "Every route of the Open Inference Protocol describes this model.")


def _row(tensor: TensorSpec) -> dict[str, Any]:
    return {"name": tensor.name, "datatype": tensor.datatype.name, "shape": tensor.protocol_shape}
