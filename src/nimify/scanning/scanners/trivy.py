"""Trivy: vulnerabilities of images and of pinned requirements, and misconfiguration of Dockerfiles and charts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from nimify.scanning.program import report_of
from nimify.scanning.scan import Issue, Kind, Level, Scan, Target, Unscanned

NAME: Final = "trivy"
_SCHEMA_VERSION: Final = 2
# Everything is asked for, whatever the user's environment says: what counts is decided by the gate.
_COMMON: Final = ("--quiet", "--format", "json", "--exit-code", "0", "--severity", "UNKNOWN,LOW,MEDIUM,HIGH,CRITICAL")
_LEVELS: Final = {
    "UNKNOWN": Level.UNKNOWN,
    "LOW": Level.LOW,
    "MEDIUM": Level.MEDIUM,
    "HIGH": Level.HIGH,
    "CRITICAL": Level.CRITICAL,
}


def scan_vulnerabilities(target: Target, timeout_s: float) -> Scan:
    """Known vulnerabilities of the packages in an image or a folder."""
    verb, what = ("image", target.image) if target.image else ("fs", str(target.path))
    report = _report((verb, *_COMMON, "--scanners", "vuln", "--", what), timeout_s)
    results = report.get("Results") or []
    if not results:
        # Nothing recognised is not the same as nothing found.
        raise Unscanned("trivy recognised no packages in it")
    issues = [_vulnerability(row) for result in results for row in result.get("Vulnerabilities") or ()]
    return Scan(Kind.VULNERABILITIES, NAME, (*issues, *_end_of_life(report)))


def scan_misconfiguration(target: Target, timeout_s: float) -> Scan | None:
    """Misconfiguration of Dockerfiles, charts and manifests in a folder."""
    if target.path is None:
        return None
    report = _report(("config", *_COMMON, "--", str(target.path)), timeout_s)
    results = report.get("Results") or []
    issues = tuple(
        _misconfiguration(row, str(result["Target"]))
        for result in results
        for row in result.get("Misconfigurations") or ()
        if row.get("Status", "FAIL") == "FAIL"
    )
    return Scan(Kind.MISCONFIGURATION, NAME, issues)


def _report(arguments: tuple[str, ...], timeout_s: float) -> Mapping[str, Any]:
    report = report_of(NAME, arguments, timeout_s=timeout_s)
    if not isinstance(report, dict) or report.get("SchemaVersion") != _SCHEMA_VERSION:
        raise Unscanned(f"trivy wrote a report of another version than {_SCHEMA_VERSION}")
    return report


def _vulnerability(row: Mapping[str, Any]) -> Issue:
    fixed = str(row.get("FixedVersion") or "")
    return Issue(
        id=str(row["VulnerabilityID"]),
        level=_LEVELS[row["Severity"]],
        where=f"{row['PkgName']} {row.get('InstalledVersion', '')}".strip(),
        message=str(row.get("Title") or ""),
        remedy=f"Fixed in {fixed}." if fixed else "",
    )


def _misconfiguration(row: Mapping[str, Any], file: str) -> Issue:
    return Issue(
        id=str(row["ID"]),
        level=_LEVELS[row["Severity"]],
        where=file,
        message=str(row.get("Message") or row.get("Title") or ""),
        remedy=str(row.get("Resolution") or ""),
    )


def _end_of_life(report: Mapping[str, Any]) -> Iterator[Issue]:
    """An operating system without updates: what is found in it later will not be listed."""
    system = (report.get("Metadata") or {}).get("OS") or {}
    if system.get("EOSL"):
        name = f"{system.get('Family', 'the system')} {system.get('Name', '')}".strip()
        yield Issue(
            "image.end-of-life", Level.HIGH, name, "It gets no security updates any more.", "Take a newer base."
        )
