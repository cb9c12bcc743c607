"""The check of the Dockerfiles, by the real hadolint."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from nimify.conformance.offline import chosen_checks, validate_bundle
from nimify.conformance.offline_checks.dockerfiles import check_dockerfiles
from nimify.conformance.report import CheckResult, Status

CheckOf = Callable[..., CheckResult]
FakeProgram = Callable[[str, str], Path]
Need = Callable[..., None]


@pytest.mark.parametrize(
    ("line", "status", "said"),
    [
        ("", Status.PASSED, "hadolint finds nothing in 2 Dockerfiles"),
        ("RUN cd /tmp\n", Status.WARNING, "DL3003 at line"),
        ("RUN sudo ls\n", Status.FAILED, "DL3004 at line"),
        ("# hadolint ignore=DL3004\nRUN sudo ls\n", Status.FAILED, "DL3004 at line"),
        ("NOT AN INSTRUCTION\n", Status.FAILED, "of container/Dockerfile.cpu"),
    ],
)
def test_hadolint_decides(line: str, status: Status, said: str, broken: Path, check_of: CheckOf, need: Need) -> None:
    """Its errors fail, its warnings warn, and the first error is told."""
    need("hadolint")
    path = broken / "container" / "Dockerfile.cpu"
    path.write_text(path.read_text() + line)
    result = check_of(check_dockerfiles, broken)
    assert result.status is status
    assert said in result.message


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("echo 'no such option' >&2; exit 1", "no such option"),
        ("echo '{\"level\": 1}'", "does not read the Dockerfiles"),
        ("echo '[{}]'", "does not read the Dockerfiles"),
        ("kill -9 $$", "a signal ended it (Killed)"),
        ("cat /dev/zero", "wrote more than 8 MiB"),
    ],
)
def test_a_hadolint_that_fails_is_no_green_check(
    script: str, said: str, broken: Path, check_of: CheckOf, fake: FakeProgram
) -> None:
    """Whatever it does instead of reading, the check fails in one sentence."""
    fake("hadolint", script)
    result = check_of(check_dockerfiles, broken)
    assert result.status is Status.FAILED
    assert said in result.message


def test_a_linked_dockerfile_is_not_read(broken: Path, tmp_path: Path, fake: FakeProgram) -> None:
    """Also when it leads to another file of the bundle: programs get plain files only."""
    fake("hadolint", f"touch {tmp_path / 'asked'}")
    (broken / "container" / "Dockerfile.cpu").unlink()
    (broken / "container" / "Dockerfile.cpu").symlink_to("Dockerfile.triton")
    (result,) = validate_bundle(broken, checks=chosen_checks(["dockerfiles"])).results
    assert (result.status, result.message) == (Status.FAILED, "'container/Dockerfile.cpu' is a link.")
    assert not (tmp_path / "asked").exists()
