"""Prometheus' files may name others; promtool is shown none that leads out of the bundle."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from nimify.conformance.offline_checks.monitoring import check_monitoring
from nimify.conformance.report import CheckResult, Status

CheckOf = Callable[..., CheckResult]
FakeProgram = Callable[[str, str], Path]
Need = Callable[..., None]


@pytest.mark.parametrize(
    ("file", "text", "status", "said"),
    [
        ("prometheus.yaml", "rule_files: [/etc/passwd]\n", Status.WARNING, "'rule_files'"),
        ("prometheus.yaml", "rule_files: ['../../*']\n", Status.WARNING, "'rule_files'"),
        ("prometheus.yaml", "a: [{authorization: {credentials_file: /x}}]\n", Status.WARNING, "'credentials_file'"),
        ("prometheus.yaml", "a: [{file_sd_configs: [{files: [/x]}]}]\n", Status.WARNING, "'file_sd_configs'"),
        ("prometheus.yaml", "a: &a [1]\nb: *a\n", Status.FAILED, "it uses anchors"),
        ("rules.test.yaml", "rule_files: [/etc/passwd]\n", Status.WARNING, "'rule_files'"),
    ],
)
def test_a_reference_out_of_the_folder_is_not_followed(
    file: str, text: str, status: Status, said: str, broken: Path, check_of: CheckOf, fake: FakeProgram, tmp_path: Path
) -> None:
    """The file is named as unread, and promtool is not asked for it."""
    fake("promtool", f'echo "$3" >> {tmp_path / "asked"}')
    (broken / "monitoring" / file).write_text(text)
    result = check_of(check_monitoring, broken)
    assert result.status is status
    assert said in result.message
    assert file not in (tmp_path / "asked").read_text()


def test_the_real_promtool_takes_the_rules_and_runs_their_tests(broken: Path, check_of: CheckOf, need: Need) -> None:
    """On the copy that it is given, with its limits."""
    need("promtool")
    assert check_of(check_monitoring, broken).status is Status.PASSED
