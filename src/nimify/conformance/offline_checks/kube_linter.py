"""What does kube-linter think of the rendered manifests? All but what the chart does on purpose."""

from __future__ import annotations

from typing import Any, Final

from nimify.artifacts.bundle import Bundle
from nimify.conformance.readers import NoAnswer, Reader, reason
from nimify.conformance.rendering import HELM, WHAT_IS_RENDERED, not_rendered, rendered_chart
from nimify.conformance.report import CheckResult, failed, passed
from nimify.errors import one_line, shortened

_NAME: Final = "kube-linter"
_KUBE_LINTER: Final = Reader("kube-linter", "Install kube-linter 0.7 or newer.")
ACCEPTED: Final = {
    "unset-cpu-requirements": "No CPU limit: it would halt the service in the middle of requests, and guards nobody's "
    "reserved CPUs. resources.cpu_limit sets one.",
}
"""Checks that the chart fails on purpose, with the reason."""


def check_kube_linter(bundle: Bundle) -> CheckResult:
    """Let kube-linter read every rendered manifest, with the checks that are on by default."""
    for program in (HELM, _KUBE_LINTER):
        if program.path is None:
            return program.missing(_NAME, WHAT_IS_RENDERED)
    with rendered_chart(bundle) as file:
        if file is None:
            return not_rendered(_NAME)
        try:
            answer = _KUBE_LINTER.ask("lint", "--format", "json", file.name, folder=file.parent)
        except NoAnswer as error:
            return failed(_NAME, str(error))
    try:
        found = [_said(report) for report in answer.document()["Reports"] or () if not _accepted(report)]
    except (ValueError, KeyError, TypeError):
        return failed(_NAME, f"kube-linter does not read what the chart renders: {reason(answer)}")
    if found:
        return failed(_NAME, f"kube-linter finds {len(found)} things, such as {found[0]}.", "Change it in nimify.yaml.")
    return passed(_NAME, "kube-linter finds nothing but what is accepted.")


def _accepted(report: Any) -> bool:
    return report["Check"] in ACCEPTED


def _said(report: Any) -> str:
    return shortened(one_line(f"{report['Check']}: {report['Diagnostic']['Message']}"), 240).rstrip(".")
