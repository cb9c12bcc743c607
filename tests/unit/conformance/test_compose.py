"""The check of compose.yaml; the real Docker Compose is asked in tests/container/test_compose.py."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from nimify.artifacts.bundle import Bundle
from nimify.conformance.offline_checks.compose_file import check_compose_file
from nimify.conformance.report import CheckResult, Status

BundleOf = Callable[..., Path]
CheckOf = Callable[..., CheckResult]
FakeProgram = Callable[[str, str], Path]


@pytest.fixture
def composed(bundle_of: BundleOf, tmp_path: Path) -> Path:
    """A bundle with a compose.yaml, to break."""
    return shutil.copytree(bundle_of("tiny", "compose"), tmp_path / "composed")


def test_a_bundle_without_it_has_nothing_to_check(broken: Path) -> None:
    """It is written only when it is asked for."""
    assert check_compose_file(Bundle.open(broken)) is None


def test_docker_without_compose_is_a_skip(composed: Path, check_of: CheckOf, fake: FakeProgram) -> None:
    """Docker alone reads no compose.yaml."""
    fake("docker", 'echo "unknown command: docker compose" >&2; exit 1')
    result = check_of(check_compose_file, composed)
    assert (result.status, "docker has no compose" in result.message) == (Status.SKIPPED, True)


def test_what_docker_compose_refuses_fails_with_its_reason(
    composed: Path, check_of: CheckOf, fake: FakeProgram
) -> None:
    """In one line."""
    fake("docker", '[ "$2" = version ] && exit 0; echo "services must be a mapping" >&2; exit 15')
    result = check_of(check_compose_file, composed)
    assert (result.status, "services must be a mapping" in result.message) == (Status.FAILED, True)


@pytest.mark.parametrize(
    ("text", "status", "said"),
    [
        ("include: [https://example.com/x.git]\n", Status.WARNING, "'include'"),
        ("services: {a: {env_file: /etc/passwd}}\n", Status.WARNING, "'env_file'"),
        ("services: {a: {extends: {file: /etc/x}}}\n", Status.WARNING, "'extends'"),
        ("secrets: {a: {file: /etc/shadow}}\n", Status.WARNING, "'file'"),
        ("a: &a [1]\nb: *a\n", Status.FAILED, "it uses anchors"),
        ("a: [", Status.FAILED, "cannot be read"),
        ("\0", Status.FAILED, "cannot be read"),
    ],
)
def test_what_leads_to_other_files_is_not_read(
    text: str, status: Status, said: str, composed: Path, check_of: CheckOf, fake: FakeProgram, tmp_path: Path
) -> None:
    """Compose would open or fetch them, so it is not asked."""
    fake("docker", f"touch {tmp_path / 'asked'}")
    (composed / "compose.yaml").write_text(text)
    result = check_of(check_compose_file, composed)
    assert result.status is status
    assert said in result.message
    assert not (tmp_path / "asked").exists()
