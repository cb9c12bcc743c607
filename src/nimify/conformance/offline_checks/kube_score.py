"""What does kube-score think of the rendered manifests? All but what the chart does on purpose."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from nimify.artifacts.bundle import Bundle
from nimify.conformance.readers import NoAnswer, Reader, reason
from nimify.conformance.rendering import HELM, KUBERNETES, WHAT_IS_RENDERED, not_rendered, rendered_chart
from nimify.conformance.report import CheckResult, failed, passed, warned
from nimify.errors import one_line, shortened

_NAME: Final = "kube-score"
_KUBE_SCORE: Final = Reader("kube-score", "Install kube-score 1.20 or newer.")
_CRITICAL: Final = 1
_FINE: Final = 10
ACCEPTED: Final = {
    "container-resources": "No CPU limit: it would halt the service in the middle of requests, and guards nobody's "
    "reserved CPUs. resources.cpu_limit sets one.",
    "container-image-pull-policy": "Always would make every start of a pod depend on the registry; images are pinned "
    "by digest or by a release's tag.",
    "deployment-has-poddisruptionbudget": "One replica, or a budget that was switched off.",
    "deployment-replicas": "One replica, as nimify.yaml asks for.",
    "deployment-has-host-podantiaffinity": "The values bring an affinity of their own.",
    "pod-networkpolicy": "The values switch network policies off.",
    "container-security-context-user-group-id": "The values ask for the NIM Operator's user 1000 and group 2000.",
}
"""Checks that the chart fails on purpose, or because its values ask for it; with the reason."""


def check_kube_score(bundle: Bundle) -> CheckResult:
    """Let kube-score grade every rendered manifest."""
    for program in (HELM, _KUBE_SCORE):
        if program.path is None:
            return program.missing(_NAME, WHAT_IS_RENDERED)
    with rendered_chart(bundle) as file:
        if file is None:
            return not_rendered(_NAME)
        arguments = ("score", "--kubernetes-version", f"v{KUBERNETES}", "--output-format", "json")
        try:
            answer = _KUBE_SCORE.ask(*arguments, "--output-version", "v2", file.name, folder=file.parent)
        except NoAnswer as error:
            return failed(_NAME, str(error))
    try:
        graded = sorted(_graded(answer.document()))
    except (ValueError, KeyError, TypeError):
        return failed(_NAME, f"kube-score does not read what the chart renders: {reason(answer)}")
    found = [(grade, check, where) for grade, check, where in graded if check not in ACCEPTED]
    if not found:
        accepted = ", ".join(sorted({check for _, check, _ in graded}))
        return passed(_NAME, f"kube-score finds nothing but what is accepted: {accepted or 'nothing'}.")
    grade, check, where = found[0]
    said = shortened(one_line(f"{check} in {where}"), 240)
    result = failed if grade <= _CRITICAL else warned
    return result(_NAME, f"kube-score finds {len(found)} things, such as {said}.", "Change it in nimify.yaml.")


def _graded(objects: Any) -> Iterator[tuple[int, str, str]]:
    """Grade, name and object of every check that is not fine."""
    if not isinstance(objects, list):
        raise TypeError("a list of objects")
    for scored in objects:
        for check in scored["checks"]:
            if not check["skipped"] and check["grade"] < _FINE:
                yield int(check["grade"]), str(check["check"]["id"]), str(scored["object_name"])
