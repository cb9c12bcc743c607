"""What a person should know: findings, the gravest first."""

from __future__ import annotations

from collections.abc import Sequence

from nimify.findings import Finding, Severity
from nimify.reports.blocks import badge, card
from nimify.reports.markup import Markup, element, plain

_ORDER = (Severity.ERROR, Severity.WARNING, Severity.INFO)
_LONGEST = 600


def findings_section(findings: Sequence[Finding]) -> Markup:
    """The list, or the good news that there is nothing on it."""
    if not findings:
        return card("Findings", lead="Nothing was found that needs attention.")
    ordered = sorted(findings, key=lambda finding: _ORDER.index(finding.severity))
    return card("Findings", element("ul", *(_item(finding) for finding in ordered), class_="findings"))


def _item(finding: Finding) -> Markup:
    return element(
        "li",
        badge(str(finding.severity), str(finding.severity)),
        f" {plain(finding.message, _LONGEST)}",
        element("p", plain(finding.remedy, _LONGEST)) if finding.remedy else None,
        element("p", element("code", finding.code)),
    )
