"""The check by trivy of the Dockerfiles and the chart; the real one where it is there."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nimify.conformance.offline_checks.trivy import ACCEPTED, check_trivy
from nimify.conformance.report import CheckResult, Status
from nimify.errors import BundleDamaged

CheckOf = Callable[..., CheckResult]
FakeProgram = Callable[[str, str], Path]

READ = [
    {"Target": "container/Dockerfile.cpu", "Type": "dockerfile"},
    {"Target": "container/Dockerfile.triton", "Type": "dockerfile"},
    {"Target": "chart/templates/deployment.yaml", "Type": "helm"},
]


def row(identity: str, severity: str, **more: str) -> dict[str, str]:
    return {"ID": identity, "Severity": severity, "Message": "it may be better", **more}


def report(*rows: dict[str, str], read: list[dict[str, Any]] | None = None) -> str:
    """A script that prints what trivy says when it found some things in the chart."""
    results = [dict(result) for result in (READ if read is None else read)]
    results[-1]["Misconfigurations"] = list(rows)
    return f"echo '{json.dumps({'SchemaVersion': 2, 'Results': results})}'"


@pytest.mark.parametrize(
    ("rows", "status", "said"),
    [
        ([], Status.PASSED, "nothing but what is accepted in 3 files"),
        ([row(name, "LOW") for name in ACCEPTED], Status.PASSED, "nothing but what is accepted in 3 files"),
        ([row("KSV-0014", "HIGH", Status="PASS")], Status.PASSED, "nothing but what is accepted"),
        ([row("KSV-0001", "MEDIUM")], Status.WARNING, "KSV-0001 in chart/templates/deployment.yaml: it may be better."),
        ([row("KSV-0001", "LOW"), row("KSV-0014", "HIGH")], Status.FAILED, "2 things, such as KSV-0014"),
        ([row("NEW-0001", "UNKNOWN")], Status.FAILED, "NEW-0001"),
    ],
)
def test_trivy_decides(
    rows: list[dict[str, str]], status: Status, said: str, broken: Path, check_of: CheckOf, fake: FakeProgram
) -> None:
    """The grave fails, the rest warns, and what is accepted is left out."""
    fake("trivy", report(*rows))
    result = check_of(check_trivy, broken)
    assert result.status is status
    assert said in result.message


@pytest.mark.parametrize(
    ("read", "said"),
    [(READ[1:], "container/Dockerfile.cpu"), (READ[:2], "chart/"), ([READ[0], READ[2]], "container/Dockerfile.triton")],
)
def test_what_trivy_passes_over_fails(
    read: list[dict[str, Any]], said: str, broken: Path, check_of: CheckOf, fake: FakeProgram
) -> None:
    """It ends well without a word of what it could not read."""
    fake("trivy", report(read=read))
    result = check_of(check_trivy, broken)
    assert (result.status, result.message) == (Status.FAILED, f"trivy could not read {said}, and passed over it.")


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("echo 'FATAL no such option' >&2; exit 1", "FATAL no such option"),
        ("echo '[]'", "does not read"),
        ("echo '{\"Results\": [{}]}'", "does not read"),
        (report({"ID": "KSV-0014"}), "does not read"),
        ("kill -9 $$", "a signal ended it (Killed)"),
        ("cat /dev/zero", "wrote more than 8 MiB"),
    ],
)
def test_a_trivy_that_fails_is_no_green_check(
    script: str, said: str, broken: Path, check_of: CheckOf, fake: FakeProgram
) -> None:
    """Whatever it does instead of reading, the check fails in one sentence."""
    fake("trivy", script)
    result = check_of(check_trivy, broken)
    assert result.status is Status.FAILED
    assert said in result.message


def test_trivy_is_given_nothing_that_leads_elsewhere(
    broken: Path, tmp_path: Path, check_of: CheckOf, fake: FakeProgram
) -> None:
    """It renders charts by itself, and would fetch a schema that lies elsewhere."""
    fake("trivy", f"touch {tmp_path / 'asked'}")
    (broken / "chart/values.schema.json").write_text('{"$ref": "https://example.com/schema.json"}')
    with pytest.raises(BundleDamaged, match="refers to"):
        check_of(check_trivy, broken)
    assert not (tmp_path / "asked").exists()


@pytest.mark.parametrize("file", ["container/Dockerfile.triton", "chart/templates/_pod.tpl", "chart/values.yaml"])
@pytest.mark.parametrize("comment", ["#trivy:ignore:DS-0002", "# tfsec:ignore:*", "#trivy:exp:2999-01-01:ignore:x"])
def test_a_comment_that_hides_something_fails(
    file: str, comment: str, broken: Path, check_of: CheckOf, fake: FakeProgram
) -> None:
    """Trivy would obey it without a word."""
    fake("trivy", report())
    with (broken / file).open("a") as stream:
        stream.write(f"\n{comment}\n")
    result = check_of(check_trivy, broken)
    assert (result.status, result.message) == (Status.FAILED, f"'{file}' tells trivy to ignore what it finds.")


def test_without_trivy_nothing_is_read(broken: Path, check_of: CheckOf, no_programs: None) -> None:
    """A skip, that says what was not read and how to get it."""
    result = check_of(check_trivy, broken)
    assert (result.status, "because trivy is not installed" in result.message) == (Status.SKIPPED, True)
