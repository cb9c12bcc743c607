"""Does Prometheus take the rules, and do they fire and stay silent as their tests say?"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Final

from nimify.artifacts.bundle import Bundle
from nimify.artifacts.monitoring.dashboard import DASHBOARD_FILE
from nimify.artifacts.monitoring.monitoring import CHART_FILES
from nimify.artifacts.monitoring.rules import RULES_FILE
from nimify.artifacts.monitoring.rules_test import RULES_TEST_FILE
from nimify.artifacts.monitoring.scraping import PROMETHEUS_FILE
from nimify.conformance.report import CheckResult, failed, passed, skipped, warned
from nimify.errors import one_line, shortened

_NAME: Final = "monitoring"
_PROGRAM: Final = "promtool"
_TIMEOUT_S: Final = 120.0
_REGENERATE: Final = "Write it again with: nimify create MODEL"
_COPIES: Final = {RULES_FILE: f"{CHART_FILES}/rules.yaml", DASHBOARD_FILE: f"{CHART_FILES}/dashboard.json"}
"""What the chart carries a copy of; Helm reads nothing outside of a chart."""
_READINGS: Final = (
    ("check", "rules", RULES_FILE),
    ("check", "config", PROMETHEUS_FILE),
    ("test", "rules", RULES_TEST_FILE),
)


def check_monitoring(bundle: Bundle) -> CheckResult:
    """Read the monitoring files with Prometheus' own promtool, and run the tests of the rules."""
    if RULES_FILE not in bundle.manifest.files:
        return warned(_NAME, "The bundle has no rules for Prometheus.", "Make it anew with: nimify create MODEL")
    try:
        json.loads((bundle.path / DASHBOARD_FILE).read_bytes())
    except ValueError:
        return failed(_NAME, f"{DASHBOARD_FILE} is not valid JSON.", _REGENERATE)
    for file, copy in _COPIES.items():
        if (bundle.path / file).read_bytes() != (bundle.path / copy).read_bytes():
            return failed(_NAME, f"{copy} is not the same as {file}.", _REGENERATE)
    program = shutil.which(_PROGRAM)
    if program is None:
        return skipped(
            _NAME,
            f"{RULES_FILE} was not read, because {_PROGRAM} is not installed.",
            "Install Prometheus, which brings it along (Debian: apt-get install prometheus).",
        )
    for verb, kind, file in _READINGS:
        problem = _problem(program, verb, kind, bundle.path / file)
        if problem:
            return failed(_NAME, f"{_PROGRAM} {verb} {kind} refuses {file}: {problem}", _REGENERATE)
    return passed(_NAME, f"{_PROGRAM} takes the rules, and each alert fires and stays silent as its tests say.")


def _problem(program: str, verb: str, kind: str, path: Path) -> str | None:
    """What promtool has against a file, in one line."""
    try:
        done = subprocess.run(
            [program, verb, kind, path.name],
            cwd=path.parent,  # files name each other relative to where they lie
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"it did not end within {_TIMEOUT_S:.0f} seconds."
    if done.returncode == 0:
        return None
    said = (done.stderr + done.stdout).decode(errors="replace")
    reasons = [line.strip() for line in said.splitlines() if line.strip() and not _TALK.match(line.strip())]
    return shortened(one_line(" ".join(reasons)) or f"it ended with {done.returncode}.", 240)


_TALK: Final = re.compile(r"(Checking|Unit Testing:|FAILED:?|SUCCESS)\b.*$")
"""Lines that say which file it is about, or only that something failed."""
