"""Grype: vulnerabilities of images and of pinned requirements."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from nimify.scanning.program import report_of
from nimify.scanning.scan import Issue, Kind, Level, Scan, Target, Unscanned

NAME: Final = "grype"
_LEVELS: Final = {
    "Unknown": Level.UNKNOWN,
    "Negligible": Level.LOW,
    "Low": Level.LOW,
    "Medium": Level.MEDIUM,
    "High": Level.HIGH,
    "Critical": Level.CRITICAL,
}


def scan_vulnerabilities(target: Target, timeout_s: float) -> Scan:
    """Known vulnerabilities of the packages in an image or a folder."""
    report = report_of(NAME, ("--quiet", "--output", "json", _source(target)), timeout_s=timeout_s)
    if not isinstance(report, dict) or not isinstance(report.get("matches"), list) or "descriptor" not in report:
        raise Unscanned("grype wrote a report that is not understood")
    return Scan(Kind.VULNERABILITIES, NAME, tuple(_issue(match) for match in report["matches"]))


def _source(target: Target) -> str:
    """The target as grype names it; what stands before a colon may be a kind of source to it, as in `docker:27`."""
    if target.path is not None:
        return f"{'dir' if target.path.is_dir() else 'file'}:{target.path}"
    return target.image if "/" in target.image else f"docker.io/library/{target.image}"


def _issue(match: Mapping[str, Any]) -> Issue:
    vulnerability, artifact = match["vulnerability"], match["artifact"]
    fixed = ", ".join(map(str, (vulnerability.get("fix") or {}).get("versions") or ()))
    return Issue(
        id=str(vulnerability["id"]),
        level=_LEVELS[vulnerability["severity"]],
        where=f"{artifact['name']} {artifact['version']}",
        message=str(vulnerability.get("description") or ""),
        remedy=f"Fixed in {fixed}." if fixed else "",
    )
