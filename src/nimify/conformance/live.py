"""Checks of a live service: the NIM management API, the Open Inference Protocol, and the golden requests."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from nimify.artifacts.bundle import Bundle
from nimify.conformance.client import Client, NoAnswer
from nimify.conformance.live_checks.errors import check_error_envelopes
from nimify.conformance.live_checks.golden_replay import check_golden_binary, check_golden_json
from nimify.conformance.live_checks.health import check_health
from nimify.conformance.live_checks.management import check_management
from nimify.conformance.live_checks.metrics import check_metrics
from nimify.conformance.live_checks.openapi_document import check_served_openapi
from nimify.conformance.live_checks.protocol import check_protocol
from nimify.conformance.live_checks.service import LiveService
from nimify.conformance.live_checks.typed import check_typed_inference
from nimify.conformance.report import CheckResult, Report, Status, failed, skipped
from nimify.errors import NimifyError, shortened

TIMEOUT_S: Final = 30.0
LiveCheck = Callable[[LiveService], CheckResult]

CHECKS: Final[Mapping[str, LiveCheck]] = {
    "health": check_health,
    "management": check_management,
    "openapi": check_served_openapi,
    "protocol": check_protocol,
    "golden-json": check_golden_json,
    "golden-binary": check_golden_binary,
    "typed-inference": check_typed_inference,
    "error-envelopes": check_error_envelopes,
    "metrics": check_metrics,
}
"""Every check by name, in the order in which they run; without a healthy service the others are skipped."""


def validate_service(url: str, bundle: Bundle, *, timeout_s: float = TIMEOUT_S) -> Report:
    """Check a live service against the bundle that it should serve. What the service does wrong is a result.

    Args:
        url: Where the service is, e.g. `http://127.0.0.1:8000`.
        bundle: What it should serve.
        timeout_s: How long each request may take.

    Raises:
        ConfigError: The URL is none.
        BundleDamaged: The bundle cannot be read.
    """
    subject = LiveService(Client(url, timeout_s=timeout_s), bundle.path, bundle.service, bundle.golden())
    results: list[CheckResult] = []
    for name, check in CHECKS.items():
        if results and results[0].status is Status.FAILED:
            results.append(skipped(name, "The service is not ready."))
        else:
            results.append(_run(name, check, subject))
    return Report(url, tuple(results))


def _run(name: str, check: LiveCheck, subject: LiveService) -> CheckResult:
    try:
        return check(subject)
    except NoAnswer as error:
        return failed(name, f"The service gave no answer: {shortened(str(error), 240)}.", "Is it running there?")
    except NimifyError as error:
        return CheckResult(name, Status.FAILED, error.message, error.remedy)
