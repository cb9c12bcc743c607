"""Trivy: vulnerabilities of images and of pinned requirements, and misconfiguration of Dockerfiles and charts."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from nimify.conformance.inline_ignores import ignoring_file
from nimify.programs import variables
from nimify.scanning.program import report_of
from nimify.scanning.scan import Issue, Kind, Level, Scan, Target, Unscanned
from nimify.scanning.scanners.hadolint import dockerfiles

NAME: Final = "trivy"
_SCHEMA_VERSION: Final = 2
# Everything is asked for, whatever the user's environment says: what counts is decided by the gate.
_COMMON: Final = ("--quiet", "--format", "json", "--exit-code", "0", "--severity", "UNKNOWN,LOW,MEDIUM,HIGH,CRITICAL")
_HIDES_NOTHING: Final = (
    *("CACERT", "CACHE_BACKEND", "CACHE_DIR", "CACHE_TTL", "CHECKS_BUNDLE_REPOSITORY", "DB_REPOSITORY", "DOCKER_HOST"),
    *("IMAGE_SRC", "INSECURE", "JAVA_DB_REPOSITORY", "NON_SSL", "OFFLINE_SCAN", "PASSWORD", "PODMAN_HOST", "REDIS_"),
    *("REGISTRY_TOKEN", "SERVER", "SKIP_CHECK_UPDATE", "SKIP_DB_UPDATE", "SKIP_JAVA_DB_UPDATE", "TOKEN", "USERNAME"),
)
"""Variables that say where things come from; any other may leave out files, levels or checks."""
_SILENT: Final = {"TRIVY_SKIP_VERSION_CHECK": "true", "TRIVY_DISABLE_TELEMETRY": "true"}
"""What is scanned here is nobody else's business."""
_WITH_AN_IMAGE: Final = ("--misconfig-scanners", "helm", "--helm-set-string", "image.repository=example.com/scanned")
"""A chart of nimify's renders for a named image only, and a bundle does not know where its image is."""
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
    report = _report((verb, *_COMMON, "--scanners", "vuln", "--list-all-pkgs", "--", what), timeout_s)
    results = report.get("Results") or []
    if not any(result.get("Packages") or result.get("Vulnerabilities") for result in results):
        # Nothing recognised is not the same as nothing found.
        raise Unscanned("trivy recognised no packages in it")
    issues = [_vulnerability(row) for result in results for row in result.get("Vulnerabilities") or ()]
    return Scan(Kind.VULNERABILITIES, NAME, (*issues, *_end_of_life(report)))


def scan_misconfiguration(target: Target, timeout_s: float) -> Scan | None:
    """Misconfiguration of Dockerfiles, charts and manifests in a folder.

    Trivy passes over a Dockerfile that it cannot parse and a chart that it cannot render. What it has not read is
    named here, because it would look as clean as any.
    """
    if target.path is None:
        return None
    root = target.path if target.path.is_dir() else target.path.parent
    deadline_s = time.monotonic() + timeout_s
    found = _configuration(target.path, root, (), timeout_s)
    for chart in _charts(target.path):
        if not _has_read(found, chart, root):
            found += _configuration(chart, root, _WITH_AN_IMAGE, max(deadline_s - time.monotonic(), 1.0))
    issues = tuple(
        _misconfiguration(row, file)
        for file, result in found
        for row in result.get("Misconfigurations") or ()
        if row.get("Status", "FAIL") == "FAIL"
    )
    missed = [path for path in (*dockerfiles(target), *_charts(target.path)) if not _has_read(found, path, root)]
    not_scanned = f"trivy could not read {_within(missed[0], root)}, and passed over it" if missed else ""
    if ignoring := ignoring_file(_looked_at(target.path, root, found)):
        not_scanned = f"{_within(ignoring, root)} tells trivy to ignore what it finds"
    return Scan(Kind.MISCONFIGURATION, NAME, issues, not_scanned)


def _looked_at(path: Path, root: Path, found: Sequence[tuple[str, Mapping[str, Any]]]) -> list[Path]:
    """The files that trivy has read, those of charts included from which others are rendered."""
    files = {root / file for file, _ in found}
    for chart in _charts(path):
        files.update(chart.rglob("*"))
    return sorted(file for file in files if file.is_file())


def _configuration(
    path: Path, root: Path, options: Sequence[str], timeout_s: float
) -> list[tuple[str, Mapping[str, Any]]]:
    """What trivy says of each configuration file below a path, by the file's path within the target."""
    report = _report(("config", *_COMMON, *options, "--", str(path)), timeout_s)
    folder = path if path.is_dir() else path.parent
    return [(_within(folder / str(result["Target"]), root), result) for result in report.get("Results") or []]


def _charts(path: Path) -> list[Path]:
    """The charts in a folder, without those that are part of another."""
    charts = sorted(file.parent for file in path.rglob("Chart.yaml") if file.is_file())
    return [chart for chart in charts if not any(other in chart.parents for other in charts)]


def _has_read(found: Sequence[tuple[str, Mapping[str, Any]]], path: Path, root: Path) -> bool:
    """Whether a Dockerfile, or anything that a chart renders, is among what trivy read."""
    name = _within(path, root)
    of_a_chart = "" if name == "." else f"{name}/"
    if path.is_dir():
        return any(file.startswith(of_a_chart) and result.get("Type") == "helm" for file, result in found)
    return any(file == name for file, _ in found)


def _within(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)


def _report(arguments: tuple[str, ...], timeout_s: float) -> Mapping[str, Any]:
    # Its own clock would end it after five minutes, whatever it was given.
    arguments = (arguments[0], "--timeout", f"{timeout_s + 1:.0f}s", *arguments[1:])
    unseen = variables("TRIVY_", but=_HIDES_NOTHING)
    report = report_of(NAME, arguments, timeout_s=timeout_s, without=unseen, environment=_SILENT)
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
        message=_sentence(str(row.get("Message") or row.get("Title") or "")),
        remedy=_sentence(str(row.get("Resolution") or "")),
    )


def _sentence(text: str) -> str:
    return f"{text}." if text[-1:].isalnum() or text[-1:] in {"'", '"'} else text


def _end_of_life(report: Mapping[str, Any]) -> Iterator[Issue]:
    """An operating system without updates: what is found in it later will not be listed."""
    system = (report.get("Metadata") or {}).get("OS") or {}
    if system.get("EOSL"):
        name = f"{system.get('Family', 'the system')} {system.get('Name', '')}".strip()
        yield Issue(
            "image.end-of-life", Level.HIGH, name, "It gets no security updates any more.", "Take a newer base."
        )
