"""A vulnerability database for the real trivy, small enough to be made by a test.

Trivy's own cannot be fetched without a network. Its format (schema 2, `db/` in trivy's cache) is a bbolt file and a
note of its age.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from tests.scanners.bolt_file import Bucket, bolt_file
from tests.scanners.vulnerability import Vulnerability

_SOURCE: Final = "pip::GitHub Security Advisory pip"
_SEVERITIES: Final = ("", "low", "medium", "high", "critical")
_VALID: Final = datetime.timedelta(days=1)


def write_database(cache: Path, vulnerabilities: Sequence[Vulnerability], *, made: datetime.datetime) -> None:
    """Put a database that knows some vulnerabilities, as of a time, into a cache folder of trivy's."""
    folder = cache / "db"
    folder.mkdir(parents=True, exist_ok=True)
    packages: dict[str, dict[str, bytes]] = {}
    for vulnerability in vulnerabilities:
        packages.setdefault(vulnerability.package, {})[vulnerability.id] = _json(_affected(vulnerability))
    content: Bucket = {
        _SOURCE: packages,
        "data-source": {_SOURCE: _json({"ID": "ghsa", "Name": "made up by a test", "URL": "https://example.com"})},
        "vulnerability": {vulnerability.id: _json(_about(vulnerability)) for vulnerability in vulnerabilities},
    }
    (folder / "trivy.db").write_bytes(bolt_file(content))
    times = {"UpdatedAt": made, "NextUpdate": made + _VALID, "DownloadedAt": made}
    metadata = {"Version": 2, **{name: time.strftime("%Y-%m-%dT%H:%M:%SZ") for name, time in times.items()}}
    (folder / "metadata.json").write_text(json.dumps(metadata))


def _affected(vulnerability: Vulnerability) -> dict[str, Any]:
    below = vulnerability.below
    return {"VulnerableVersions": [f"<{below}" if below else ">=0"], "PatchedVersions": [below] if below else []}


def _about(vulnerability: Vulnerability) -> dict[str, Any]:
    severity = vulnerability.severity
    judged = {"VendorSeverity": {"ghsa": _SEVERITIES.index(severity)}} if severity else {}
    return {"Title": "Made up by a test.", "Severity": (severity or "unknown").upper(), **judged}


def _json(data: Any) -> bytes:
    return json.dumps(data).encode()
