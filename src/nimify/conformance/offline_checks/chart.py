"""Does Helm take the chart, and render it?"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from nimify.artifacts.bundle import Bundle
from nimify.artifacts.chart.chart import CHART_FOLDER
from nimify.conformance.readers import NoAnswer, reason
from nimify.conformance.rendering import HELM, KUBERNETES, NotRendered, render, staged_chart
from nimify.conformance.report import CheckResult, failed, passed, warned

_NAME: Final = "chart"
_CHART_FILE: Final = f"{CHART_FOLDER}/Chart.yaml"
_REGENERATE: Final = "Write it again with: nimify create MODEL --force"


def check_chart(bundle: Bundle) -> CheckResult:
    """Lint the chart strictly, and render it for an image that is not there."""
    if _CHART_FILE not in bundle.manifest.files:
        return warned(_NAME, "The bundle has no chart.", "Make it anew with: nimify create MODEL")
    if HELM.path is None:
        return HELM.missing(_NAME, f"{CHART_FOLDER}/")
    with staged_chart(bundle) as folder:
        problem = _lint(folder)
        if problem:
            return failed(_NAME, f"helm lint refuses the chart: {problem}", _REGENERATE)
        try:
            render(folder)
        except NotRendered as error:
            return failed(_NAME, f"helm does not render the chart: {error}", _REGENERATE)
    return passed(_NAME, f"helm lint --strict finds nothing, and helm renders it for Kubernetes {KUBERNETES}.")


def _lint(folder: Path) -> str | None:
    """What Helm's strict lint has against the chart."""
    try:
        answer = HELM.ask("lint", "--strict", "--quiet", CHART_FOLDER, folder=folder)
    except NoAnswer as error:
        return str(error)
    if answer.code == 0:
        return None
    # Beside what is wrong it tells what it does, and how the templates' own `fail` behaves in a lint.
    told = [line for line in answer.words if line.startswith(("[ERROR]", "[WARNING]"))]
    return reason(answer, told or None)
