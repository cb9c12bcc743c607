"""`nimify scan` with the real hadolint."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.supply_chain.conftest import program

from nimify.scanning.scan import Level, Target
from nimify.scanning.scanners.hadolint import scan_misconfiguration

pytestmark = pytest.mark.supply_chain


@pytest.fixture(autouse=True)
def _hadolint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(Path(program("hadolint")).parent), prepend=":")


def test_the_dockerfiles_of_a_bundle_are_clean(make_bundle: Callable[..., Path]) -> None:
    """Nothing grave is found in what nimify writes."""
    result = scan_misconfiguration(Target(make_bundle("tiny")), 60)

    assert result is not None
    assert [issue for issue in result.issues if issue.level.reaches(Level.MEDIUM)] == []


def test_a_bad_dockerfile_is_found(tmp_path: Path) -> None:
    """Its own report is read: the rule, the level and the line."""
    (tmp_path / "Dockerfile").write_text("FROM python:latest\nRUN cd /tmp\n")

    result = scan_misconfiguration(Target(tmp_path), 60)

    assert result is not None
    assert ("DL3007", Level.MEDIUM, "Dockerfile:1") in [(found.id, found.level, found.where) for found in result.issues]


def test_nothing_hides_what_hadolint_finds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a comment in the target, nor a variable."""
    (tmp_path / "Dockerfile").write_text("# hadolint ignore=DL3007\nFROM python:latest\nRUN cd /tmp\n")
    monkeypatch.setenv("HADOLINT_IGNORE", "DL3003")
    monkeypatch.setenv("HADOLINT_OVERRIDE_INFO", "DL3007")

    result = scan_misconfiguration(Target(tmp_path), 60)

    assert result is not None
    found = {issue.id: issue.level for issue in result.issues}
    assert found["DL3007"] is Level.MEDIUM
    assert "DL3003" in found


def test_a_file_that_is_no_dockerfile_is_an_issue(tmp_path: Path) -> None:
    """What hadolint cannot parse is grave, and not passed over."""
    (tmp_path / "Dockerfile").write_text("hello\n")

    result = scan_misconfiguration(Target(tmp_path), 60)

    assert result is not None
    assert [issue.level for issue in result.issues] == [Level.HIGH]
