"""What does trivy think of the Dockerfiles and of the chart? All but what they do on purpose."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from nimify.artifacts.bundle import Bundle
from nimify.artifacts.chart.chart import CHART_FOLDER
from nimify.artifacts.container.container import FAMILIES, dockerfile_path
from nimify.conformance.inline_ignores import ignoring_file
from nimify.conformance.readers import NoAnswer, Reader, reason
from nimify.conformance.rendering import IMAGE, KUBERNETES, staged_chart
from nimify.conformance.report import CheckResult, failed, passed, warned
from nimify.errors import one_line, shortened

_NAME: Final = "trivy"
_TRIVY: Final = Reader("trivy", "Install trivy 0.74 or newer.", environment={"TRIVY_SKIP_VERSION_CHECK": "true"})
_CONFIG: Final = ("config", "--quiet", "--format", "json", "--skip-check-update")
_GRAVE: Final = frozenset({"HIGH", "CRITICAL", "UNKNOWN"})
ACCEPTED: Final = {
    "KSV-0011": "No CPU limit: it would halt the service in the middle of requests, and guards nobody's reserved CPUs. "
    "resources.cpu_limit sets one.",
    "KSV-0020": "The values ask for the NIM Operator's user 1000.",
    "KSV-0021": "The values ask for the NIM Operator's group 2000.",
    "KSV-0125": "Trivy trusts the registries of a few clouds; which ones a cluster trusts is for its admission to say.",
}
"""Checks that fail on purpose, or because the chart's values ask for it; with the reason."""


def check_trivy(bundle: Bundle) -> CheckResult:
    """Let trivy look for misconfiguration with the checks that come with it; it renders the chart by itself."""
    if _TRIVY.path is None:
        return _TRIVY.missing(_NAME, f"What the Dockerfiles say and {CHART_FOLDER}/ renders")
    dockerfiles = [path for path in map(dockerfile_path, FAMILIES) if path in bundle.manifest.files]
    with staged_chart(bundle, *dockerfiles) as folder:
        if ignoring := ignoring_file(sorted(path for path in folder.rglob("*") if path.is_file())):
            file = shortened(one_line(ignoring.relative_to(folder).as_posix()))
            return failed(_NAME, f"'{file}' tells trivy to ignore what it finds.", "Remove the comment 'trivy:ignore'.")
        chart = ("--helm-kube-version", f"{KUBERNETES}.0", "--helm-set-string", f"image.repository={IMAGE}")
        try:
            answer = _TRIVY.ask(*_CONFIG, *chart, ".", folder=folder)
        except NoAnswer as error:
            return failed(_NAME, str(error))
    try:
        results = answer.document().get("Results") or []
        read = {(str(result["Type"]), str(result["Target"])) for result in results}
        found = sorted(_found(results), reverse=True)
    except (ValueError, KeyError, TypeError, AttributeError):
        return failed(_NAME, f"trivy does not read the Dockerfiles and the chart: {reason(answer)}")
    # It passes over what it cannot read.
    unread = [path for path in dockerfiles if ("dockerfile", path) not in read]
    if "helm" not in {kind for kind, _ in read}:
        unread.append(f"{CHART_FOLDER}/")
    if unread:
        return failed(_NAME, f"trivy could not read {unread[0]}, and passed over it.")
    if not found:
        return passed(_NAME, f"trivy finds nothing but what is accepted in {len(read)} files.")
    grave, said = found[0]
    result = failed if grave else warned
    return result(_NAME, f"trivy finds {len(found)} things, such as {said}.", "Change it in nimify.yaml.")


def _found(results: Any) -> Iterator[tuple[bool, str]]:
    """Whether it is grave, and what it is, for each thing that is not accepted."""
    for result in results:
        for row in result.get("Misconfigurations") or ():
            if row["ID"] not in ACCEPTED and row.get("Status", "FAIL") == "FAIL":
                said = one_line(f"{row['ID']} in {result['Target']}: {row['Message']}")
                yield row["Severity"] in _GRAVE, shortened(said, 240).rstrip(".")
