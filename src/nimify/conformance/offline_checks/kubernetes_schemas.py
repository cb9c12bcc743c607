"""Are the rendered manifests what Kubernetes knows? Strict schemas refuse a field that no release has."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Final

from nimify.artifacts.bundle import Bundle
from nimify.conformance.rendering import HELM, KUBERNETES, WHAT_IS_RENDERED, not_rendered, rendered_chart
from nimify.conformance.report import CheckResult, failed, passed, skipped
from nimify.conformance.schema_reader import read_against_schema

_NAME: Final = "kubernetes"


def check_kubernetes_schemas(bundle: Bundle) -> CheckResult:
    """Hold every rendered manifest against the strict schema of its kind."""
    if find_spec("kubernetes_validate") is None:
        return skipped(
            _NAME,
            f"{WHAT_IS_RENDERED} was not read, because the Python package kubernetes-validate is not installed.",
            "Install it with: pip install 'nimify-anything[validate]'",
        )
    if HELM.path is None:
        return HELM.missing(_NAME, WHAT_IS_RENDERED)
    with rendered_chart(bundle) as file:
        if file is None:
            return not_rendered(_NAME)
        reading = read_against_schema("kubernetes", file.name, KUBERNETES, folder=file.parent)
    if reading.problem:
        return failed(_NAME, f"Kubernetes {KUBERNETES} does not take what the chart renders: {reading.problem}")
    beside = f"; it has none for {', '.join(reading.unread)}" if reading.unread else ""
    return passed(_NAME, f"{reading.read} manifests keep to the strict schemas of Kubernetes {KUBERNETES}{beside}.")
