"""Does `/v1/metrics` hold what Prometheus can read and dashboards ask for?"""

from __future__ import annotations

import re
from typing import Final

from nimify.conformance.live_checks.service import LiveService, status_problem
from nimify.conformance.report import CheckResult, failed, passed
from nimify.errors import one_line, shortened

_NAME = "metrics"
_PATH = "/v1/metrics"
_REQUIRED: Final = (
    "nv_inference_request_success",
    "nv_inference_request_failure",
    "nv_inference_count",
    "nv_inference_exec_count",
    "nv_inference_pending_request_count",
    "nv_inference_request_duration_us",
    "nv_inference_queue_duration_us",
    "nv_inference_compute_infer_duration_us",
    "nim_request_duration_seconds_bucket",
)
_LABEL: Final = r'[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\["\\n])*"'
_SAMPLE: Final = re.compile(
    rf"(?P<name>[a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{{(?:{_LABEL}(?:,{_LABEL})*,?)?\}})? "
    r"(?P<value>[+-]?(?:Inf|[0-9.]+(?:[eE][+-]?[0-9]+)?)|NaN)(?: -?[0-9]+)?"
)
_COMMENT: Final = re.compile(r"# (?:HELP [a-zA-Z_:][a-zA-Z0-9_:]* .*|TYPE [a-zA-Z_:][a-zA-Z0-9_:]* [a-z]+|EOF)")


def check_metrics(service: LiveService) -> CheckResult:
    """Parse the exposition, and look for the families that dashboards and autoscalers ask for."""
    answer = service.client.get(_PATH)
    problem = status_problem(_PATH, answer, 200)
    if problem:
        return failed(_NAME, problem)
    try:
        samples = parse(answer.body.decode())
    except ValueError as error:
        return failed(_NAME, f"{_PATH} is not Prometheus text: {error}")
    absent = [name for name in _REQUIRED if name not in samples]
    if absent:
        return failed(_NAME, f"{_PATH} lacks {', '.join(absent)}.")
    return passed(_NAME, f"{_PATH} holds {len(samples)} kinds of samples, Triton's among them.")


def parse(text: str) -> dict[str, float]:
    """The sum of the samples of each name.

    Raises:
        ValueError: A line is neither a sample nor a comment; names it.
    """
    samples: dict[str, float] = {}
    for line in text.split("\n"):
        if not line or _COMMENT.fullmatch(line):
            continue
        match = _SAMPLE.fullmatch(line)
        if match is None:
            raise ValueError(f"the line {shortened(one_line(repr(line)), 120)} is neither a sample nor a comment.")
        samples[match["name"]] = samples.get(match["name"], 0.0) + float(match["value"])
    return samples
