"""`nimify scan` with the real trivy: misconfiguration, for which it needs no database."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.scanners.conftest import only_scanner

from nimify.scanning.scan import Kind, Level, Scan, Target
from nimify.scanning.scanning import scan

pytestmark = pytest.mark.scanners


@pytest.fixture(autouse=True)
def _trivy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The only scanner here; it fetches nothing, and what it keeps goes with the test."""
    monkeypatch.setenv("TRIVY_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("TRIVY_SKIP_CHECK_UPDATE", "true")
    monkeypatch.setenv("TRIVY_SKIP_VERSION_CHECK", "true")
    only_scanner("trivy", tmp_path / "bin", monkeypatch)


def scanned(path: Path, kind: Kind = Kind.MISCONFIGURATION) -> Scan:
    (result,) = scan(Target(path), (kind,), timeout_s=300)
    return result


def test_what_nimify_writes_is_configured_well(make_bundle: Callable[..., Path]) -> None:
    """Nothing grave is found in the Dockerfiles and the chart of a bundle."""
    result = scanned(make_bundle("tiny"))

    assert result.not_scanned == ""
    assert [issue for issue in result.issues if issue.level.reaches(Level.HIGH)] == []


def test_a_bad_dockerfile_is_found(tmp_path: Path) -> None:
    """Its own report is read: what it is, how grave, where, and what to do."""
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad/Dockerfile").write_text("FROM python:latest\nUSER root\n")

    result = scanned(tmp_path / "bad")

    assert result.not_scanned == ""
    assert {(issue.level, issue.where) for issue in result.issues} >= {(Level.HIGH, "Dockerfile")}
    assert all(issue.id and issue.message and issue.remedy for issue in result.issues)


def test_a_bad_chart_is_found(tmp_path: Path) -> None:
    """The templates are rendered: a container that may do everything is an issue."""
    templates = tmp_path / "chart/templates"
    templates.mkdir(parents=True)
    (tmp_path / "chart/Chart.yaml").write_text("apiVersion: v2\nname: bad\nversion: 1.0.0\n")
    (templates / "pod.yaml").write_text(
        "apiVersion: v1\nkind: Pod\nmetadata: {name: bad}\n"
        "spec: {containers: [{name: bad, image: bad, securityContext: {privileged: true}}]}\n"
    )

    result = scanned(tmp_path / "chart")

    assert result.not_scanned == ""
    assert any(issue.level.reaches(Level.HIGH) for issue in result.issues)


def test_without_a_database_vulnerabilities_are_not_scanned(
    make_bundle: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Told not to fetch one, it fails, and that is no clean bill."""
    monkeypatch.setenv("TRIVY_SKIP_DB_UPDATE", "true")

    assert scanned(make_bundle("tiny"), Kind.VULNERABILITIES).not_scanned.startswith("trivy ended with status")
