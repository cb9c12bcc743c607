"""Does the service answer the golden requests as recorded, in JSON and in the binary form?"""

from __future__ import annotations

from nimify.artifacts.comparison import compare_outputs
from nimify.artifacts.golden import Golden, RecordedCase, needs_binary
from nimify.conformance.live_checks.service import LiveService, lacking, status_problem
from nimify.conformance.report import CheckResult, failed, passed, skipped
from nimify.serving.faults import RequestFault
from nimify.serving.open_inference import HEADER_LENGTH, decode_response, encode_request


def check_golden_json(service: LiveService) -> CheckResult:
    """Replay the cases that JSON can carry."""
    signature = service.spec.signature
    cases = [
        recorded
        for recorded in _cases(service.golden)
        if not needs_binary(signature.inputs, recorded.case.inputs)
        and not needs_binary(signature.outputs, recorded.case.outputs)
    ]
    return _replay("golden-json", service, cases, binary=False)


def check_golden_binary(service: LiveService) -> CheckResult:
    """Replay every case in the binary form."""
    return _replay("golden-binary", service, _cases(service.golden), binary=True)


def _cases(golden: Golden | None) -> list[RecordedCase]:
    return [] if golden is None else list(golden.cases)


def _replay(name: str, service: LiveService, cases: list[RecordedCase], *, binary: bool) -> CheckResult:
    if not cases:
        why = "The bundle has no golden requests" + ("." if binary else " that JSON can carry.")
        return skipped(name, why)
    for recorded in cases:
        problem = _problem(service, recorded, binary=binary)
        if problem:
            return failed(name, f"The golden request '{recorded.case.name}': {problem}")
    return passed(name, f"All {len(cases)} golden requests are answered as recorded.")


def _problem(service: LiveService, recorded: RecordedCase, *, binary: bool) -> str | None:
    spec, case = service.spec, recorded.case
    path = f"/v2/models/{spec.name}/infer"
    body, length = encode_request(case.inputs, spec.signature.inputs, id=case.name, binary=binary)
    answer = service.client.post(path, body, {} if length is None else {HEADER_LENGTH: str(length)})
    problem = status_problem(path, answer, 200)
    if problem:
        return problem
    answered_length = answer.headers.get(HEADER_LENGTH.lower())
    if binary != (answered_length is not None):
        return f"the answer came in the wrong form ({answer.content_type})."
    try:
        message = decode_response(answer.body, int(answered_length) if answered_length is not None else None)
    except (RequestFault, ValueError) as error:
        return f"the answer is not a message of the protocol. {error}"
    problem = lacking(path, message.fields, {"model_name": spec.name, "model_version": str, "id": case.name})
    tolerances = service.golden.tolerances if service.golden is not None else {}
    return problem or compare_outputs(spec.signature.outputs, case.outputs, message.tensors, tolerances)
