"""Grype: vulnerabilities of images and of pinned requirements."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from nimify.programs import variables
from nimify.scanning.program import report_of
from nimify.scanning.scan import Issue, Kind, Level, Scan, Target, Unscanned

NAME: Final = "grype"
# Everything is asked for, whatever the user's environment says: what counts is decided by the gate.
_COMMON: Final = ("--only-fixed=false", "--only-notfixed=false", "--ignore-states=", "--fail-on=")
_HIDES_NOTHING: Final = ("CHECK_FOR_APP_UPDATE", "DB_", "REGISTRY_")
"""Variables that say where things come from; any other may leave out packages or what is known of them."""
_PACKAGES: Final = "cyclonedx-json"
_KINDS: Final = {"library", "application"}
"""Of components that are packages; files and the operating system are none."""
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
    with tempfile.TemporaryDirectory(prefix="nimify-grype-") as folder:
        # Its report names only packages in which something was found; what it looked at, it says in another format.
        packages = Path(folder) / "packages.json"
        arguments = (*_COMMON, "--output", "json", "--output", f"{_PACKAGES}={packages}", _source(target))
        unseen = variables("GRYPE_", but=_HIDES_NOTHING)
        report = report_of(NAME, arguments, timeout_s=timeout_s, without=unseen)
        if not isinstance(report, dict) or not isinstance(report.get("matches"), list) or "descriptor" not in report:
            raise Unscanned("grype wrote a report that is not understood")
        if not _names_packages(packages):
            # Nothing recognised is not the same as nothing found.
            raise Unscanned("grype recognised no packages in it")
    return Scan(Kind.VULNERABILITIES, NAME, tuple(_issue(match) for match in report["matches"]))


def _names_packages(path: Path) -> bool:
    try:
        components = json.loads(path.read_bytes()).get("components") or ()
    except OSError as error:
        raise Unscanned("grype did not say which packages it looked at") from error
    return any(component["type"] in _KINDS for component in components)


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
