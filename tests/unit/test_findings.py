"""Findings as data."""

from __future__ import annotations

import json

import pytest

from nimify.findings import Finding, Severity


@pytest.mark.parametrize("severity", Severity)
def test_a_finding_is_plain_data(severity: Severity) -> None:
    """JSON and back, with the severity as its word."""
    finding = Finding("batching.fixed-dimension", severity, "The first axis of 'x' is fixed.", "Export it again.")
    data = json.loads(json.dumps(finding.to_dict()))
    assert data["severity"] in {"info", "warning", "error"}
    assert Finding(**{**data, "severity": Severity(data["severity"])}) == finding


def test_a_finding_may_need_nothing_done() -> None:
    """The remedy is empty then, not absent."""
    assert Finding("a.b", Severity.INFO, "So it is.").to_dict()["remedy"] == ""
