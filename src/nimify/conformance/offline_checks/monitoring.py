"""Does Prometheus take the rules, and do they fire and stay silent as their tests say?"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, Final

from nimify.artifacts.bundle import Bundle
from nimify.artifacts.monitoring.dashboard import DASHBOARD_FILE
from nimify.artifacts.monitoring.monitoring import CHART_FILES
from nimify.artifacts.monitoring.rules import RULES_FILE
from nimify.artifacts.monitoring.rules_test import RULES_TEST_FILE
from nimify.artifacts.monitoring.scraping import PROMETHEUS_FILE
from nimify.conformance.readers import NoAnswer, Reader, reason
from nimify.conformance.report import CheckResult, failed, passed, warned
from nimify.conformance.staging import staged
from nimify.conformance.yaml_documents import first_key, yaml_documents
from nimify.errors import one_line, shortened

_NAME: Final = "monitoring"
_PROMTOOL: Final = Reader(
    "promtool", "Install Prometheus, which brings it along (Debian: apt-get install prometheus).", timeout_s=120.0
)
_REGENERATE: Final = "Write it again with: nimify create MODEL"
_COPIES: Final = {RULES_FILE: f"{CHART_FILES}/rules.yaml", DASHBOARD_FILE: f"{CHART_FILES}/dashboard.json"}
"""What the chart carries a copy of; Helm reads nothing outside of a chart."""
_PLAIN_NAME: Final = re.compile(r"[A-Za-z0-9_.-]+")
_READINGS: Final = (
    ("check", "rules", RULES_FILE),
    ("check", "config", PROMETHEUS_FILE),
    ("test", "rules", RULES_TEST_FILE),
)


def check_monitoring(bundle: Bundle) -> CheckResult:
    """Read the monitoring files with Prometheus' own promtool, and run the tests of the rules."""
    if RULES_FILE not in bundle.manifest.files:
        return warned(_NAME, "The bundle has no rules for Prometheus.", "Make it anew with: nimify create MODEL")
    with staged(bundle.path, *_COPIES, *_COPIES.values(), *(file for _, _, file in _READINGS[1:])) as folder:
        return _differs(folder) or _read(folder)


def _differs(folder: Path) -> CheckResult | None:
    """What is wrong with the dashboard, or with what the chart has copies of."""
    try:
        json.loads((folder / DASHBOARD_FILE).read_bytes())
    except (ValueError, RecursionError):
        return failed(_NAME, f"{DASHBOARD_FILE} is not valid JSON.", _REGENERATE)
    for file, copy in _COPIES.items():
        if (folder / file).read_bytes() != (folder / copy).read_bytes():
            return failed(_NAME, f"{copy} is not the same as {file}.", _REGENERATE)
    return None


def _read(folder: Path) -> CheckResult:
    if _PROMTOOL.path is None:
        return _PROMTOOL.missing(_NAME, RULES_FILE)
    for verb, kind, file in _READINGS:
        unread = _unread(folder / file, file)
        if unread:
            return unread
        problem = _problem(verb, kind, folder / file)
        if problem:
            return failed(_NAME, f"promtool {verb} {kind} refuses {file}: {problem}", _REGENERATE)
    return passed(_NAME, "promtool takes the rules, and each alert fires and stays silent as its tests say.")


def _unread(path: Path, file: str) -> CheckResult | None:
    """What keeps a file from promtool: it would open whatever the file names."""
    try:
        elsewhere = first_key(yaml_documents(path.read_text(encoding="utf-8")), _leads_elsewhere)
    except ValueError as error:
        return failed(_NAME, f"{file} cannot be read: {shortened(one_line(str(error)), 240)}.", _REGENERATE)
    if elsewhere:
        return warned(_NAME, f"{file} was not read: it has '{elsewhere}', which leads to other files.")
    return None


def _leads_elsewhere(key: str, value: Any) -> bool:
    if key == "rule_files" and isinstance(value, list):
        return not all(isinstance(name, str) and _PLAIN_NAME.fullmatch(name) for name in value)
    return key.endswith(("_file", "_files")) or key.startswith("file_sd")


def _problem(verb: str, kind: str, path: Path) -> str | None:
    """What promtool has against a file, in one line."""
    try:
        # Files name each other relative to where they lie.
        answer = _PROMTOOL.ask(verb, kind, path.name, folder=path.parent)
    except NoAnswer as error:
        return str(error)
    if answer.code == 0:
        return None
    return reason(answer, [line for line in answer.words if not _TALK.match(line)])


_TALK: Final = re.compile(r"(Checking|Unit Testing:|FAILED:?|SUCCESS)\b.*$")
"""Lines that say which file it is about, or only that something failed."""
