"""Do the chart's values keep to its schema?"""

from __future__ import annotations

from typing import Final

from nimify.artifacts.bundle import Bundle
from nimify.artifacts.chart.chart import CHART_FOLDER
from nimify.conformance.rendering import SCHEMA_FILE, staged_chart
from nimify.conformance.report import CheckResult, failed, passed, warned
from nimify.conformance.schema_reader import read_against_schema

_NAME: Final = "chart-values"
_VALUES_FILE: Final = "values.yaml"
_FILES: Final = tuple(f"{CHART_FOLDER}/{name}" for name in (_VALUES_FILE, SCHEMA_FILE))


def check_chart_values(bundle: Bundle) -> CheckResult:
    """Hold values.yaml against values.schema.json, as Helm does with every install."""
    if not bundle.manifest.files.keys() >= set(_FILES):
        return warned(_NAME, "The bundle has no chart.", "Make it anew with: nimify create MODEL")
    values, schema = _FILES
    with staged_chart(bundle) as folder:
        reading = read_against_schema("values", values, schema, folder=folder)
    if reading.problem:
        return failed(
            _NAME,
            f"{values} does not keep to {SCHEMA_FILE}: {reading.problem}",
            "Write it again with: nimify create MODEL --force",
        )
    return passed(_NAME, f"{values} keeps to {SCHEMA_FILE}.")
