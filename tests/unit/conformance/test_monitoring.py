"""The check of the monitoring files: it fails on what Prometheus would refuse, and says when it could not be made."""

from __future__ import annotations

from pathlib import Path

import pytest

from nimify.artifacts.bundle import Bundle
from nimify.conformance.offline_checks.monitoring import check_monitoring
from nimify.conformance.report import CheckResult, Status

ACCEPTING = "#!/bin/sh\nexit 0\n"
REFUSING = (
    "#!/bin/sh\necho 'Checking rules.yaml'\necho '  FAILED:'\necho 'rules.yaml: unexpected end of input' >&2\nexit 1\n"
)
SILENT = "#!/bin/sh\nexit 3\n"


def result_of(bundle: Path) -> CheckResult:
    return check_monitoring(Bundle.open(bundle))


@pytest.fixture
def promtool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program of that name which does what a test writes into it."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder), prepend=None)
    path = folder / "promtool"
    path.touch(mode=0o755)
    return path


def test_without_promtool_the_check_is_skipped_and_says_so(broken: Path, promtool: Path) -> None:
    """Not green: nobody read the rules."""
    promtool.unlink()
    result = result_of(broken)
    assert result.status is Status.SKIPPED
    assert "promtool is not installed" in result.message
    assert "apt-get install prometheus" in result.remedy


def test_what_promtool_takes_passes(broken: Path, promtool: Path) -> None:
    """All three readings end well."""
    promtool.write_text(ACCEPTING)
    assert result_of(broken).status is Status.PASSED


def test_what_promtool_refuses_fails_with_its_reason(broken: Path, promtool: Path) -> None:
    """The reason, without the lines that only say that there is one."""
    promtool.write_text(REFUSING)
    result = result_of(broken)
    assert result.status is Status.FAILED
    assert result.message == ("promtool check rules refuses monitoring/rules.yaml: rules.yaml: unexpected end of input")


def test_a_promtool_that_says_nothing_still_gives_a_reason(broken: Path, promtool: Path) -> None:
    """Its status, at least."""
    promtool.write_text(SILENT)
    assert "it ended with 3" in result_of(broken).message


def test_a_dashboard_that_is_no_json_fails(broken: Path) -> None:
    """Grafana would not load it."""
    (broken / "monitoring" / "dashboard.json").write_text("{")
    assert result_of(broken).message == "monitoring/dashboard.json is not valid JSON."


@pytest.mark.parametrize("name", ["rules.yaml", "dashboard.json"])
def test_a_copy_that_differs_fails(name: str, broken: Path) -> None:
    """A cluster would be watched otherwise than the bundle says."""
    (broken / "chart" / "files" / name).write_text("{}")
    result = result_of(broken)
    assert result.status is Status.FAILED
    assert f"chart/files/{name}" in result.message


def test_a_bundle_from_before_there_were_rules_is_told_so(broken: Path) -> None:
    """It still serves; nothing watches it."""
    manifest = broken / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"monitoring/rules.yaml"', '"monitoring/other.yaml"'))
    assert result_of(broken).status is Status.WARNING
