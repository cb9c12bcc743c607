"""The gate: what fails, what was accepted and until when, and that what was not scanned does not pass."""

from __future__ import annotations

import datetime
from pathlib import Path

import pytest

from nimify.errors import ConfigError
from nimify.scanning.gate import Gate, Verdict
from nimify.scanning.ignoring import Acceptance, read_ignore_file
from nimify.scanning.scan import Issue, Kind, Level, Scan

_TODAY = datetime.date(2026, 6, 15)


def _issue(level: Level = Level.HIGH, *, id: str = "CVE-1", where: str = "openssl 3.0") -> Issue:
    return Issue(id, level, where, "a hole")


def _verdict(
    *issues: Issue,
    threshold: Level = Level.HIGH,
    accepted: tuple[Acceptance, ...] = (),
    not_scanned: str = "",
    allow_not_scanned: bool = False,
) -> Verdict:
    gate = Gate(threshold, _TODAY, accepted, allow_not_scanned)
    return gate.judge("x", [Scan(Kind.VULNERABILITIES, "trivy", issues, not_scanned)])


@pytest.mark.parametrize(
    ("level", "threshold", "passes"),
    [
        (Level.LOW, Level.HIGH, True),
        (Level.MEDIUM, Level.HIGH, True),
        (Level.HIGH, Level.HIGH, False),
        (Level.CRITICAL, Level.HIGH, False),
        (Level.HIGH, Level.CRITICAL, True),
        (Level.LOW, Level.LOW, False),
        (Level.UNKNOWN, Level.CRITICAL, False),
    ],
)
def test_the_threshold_decides(level: Level, threshold: Level, passes: bool) -> None:
    """From the threshold on, issues fail; what nobody has judged fails always."""
    assert _verdict(_issue(level), threshold=threshold).passed is passes


@pytest.mark.parametrize(
    ("entry", "passes"),
    [
        (Acceptance("CVE-1", "reason", _TODAY), True),
        (Acceptance("CVE-1", "reason", _TODAY - datetime.timedelta(days=1)), False),
        (Acceptance("CVE-2", "reason", _TODAY), False),
        (Acceptance("CVE-1", "reason", _TODAY, where="openssl"), True),
        (Acceptance("CVE-1", "reason", _TODAY, where="zlib"), False),
    ],
    ids=["last day", "the day after", "another issue", "its place", "another place"],
)
def test_an_acceptance_counts_for_its_issue_until_its_day(entry: Acceptance, passes: bool) -> None:
    """On its last day it counts, on the next the issue is back."""
    assert _verdict(_issue(), accepted=(entry,)).passed is passes


def test_an_expired_acceptance_is_named() -> None:
    """Whoever wrote it should hear of it, even if the issue is gone."""
    entry = Acceptance("CVE-9", "reason", _TODAY - datetime.timedelta(days=1))

    assert _verdict(accepted=(entry,)).expired == [entry]


def test_what_was_not_scanned_does_not_pass() -> None:
    """Unless that was allowed; issues fail all the same."""
    assert not _verdict(not_scanned="no scanner").passed
    assert _verdict(not_scanned="no scanner", allow_not_scanned=True).passed
    assert not _verdict(_issue(), not_scanned="half", allow_not_scanned=True).passed


def test_an_ignore_file_is_read(tmp_path: Path) -> None:
    """An entry has an id, a reason and a day, and may have a place."""
    path = tmp_path / "ignore.yaml"
    path.write_text(
        "ignore:\n  - id: CVE-1\n    where: openssl\n    reason: no TLS of its own\n    expires: 2026-12-31\n"
    )

    assert read_ignore_file(path) == (Acceptance("CVE-1", "no TLS of its own", datetime.date(2026, 12, 31), "openssl"),)


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("{id: CVE-1, expires: 2026-12-31}", "'reason' is missing"),
        ("{id: CVE-1, reason: x}", "'expires' is missing"),
        ("{id: CVE-1, reason: '', expires: 2026-12-31}", "'reason' must be text"),
        ("{id: CVE-1, reason: x, expires: never}", "must be a day"),
        ("{id: CVE-1, reason: x, expires: 2026-12-31T00:00:00}", "must be a day"),
        ("{id: CVE-1, reason: x, expires: 2026-12-31, until: 1}", "'until' is not known"),
        ("{id: 7, reason: x, expires: 2026-12-31}", "'id' must be text"),
        ("CVE-1", "must be a mapping"),
    ],
)
def test_an_entry_without_reason_or_day_is_refused(tmp_path: Path, entry: str, said: str) -> None:
    """Nothing is ignored for ever, or for no reason; the error names the entry."""
    path = tmp_path / "ignore.yaml"
    path.write_text(f"ignore:\n  - {entry}\n")

    with pytest.raises(ConfigError, match=said) as caught:
        read_ignore_file(path)

    assert "entry 1" in str(caught.value)


@pytest.mark.parametrize("text", ["", "[]", "ignored: []", "ignore: {}", "ignore: []\nother: 1"])
def test_a_file_of_another_shape_is_refused(tmp_path: Path, text: str) -> None:
    """A misspelt key must not become an empty list."""
    path = tmp_path / "ignore.yaml"
    path.write_text(text)

    with pytest.raises(ConfigError, match="must hold one key"):
        read_ignore_file(path)
