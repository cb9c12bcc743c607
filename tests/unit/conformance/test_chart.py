"""The checks of the chart and of what it renders, by the real Helm, strict schemas and kube-score."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nimify.conformance.offline import chosen_checks, validate_bundle
from nimify.conformance.offline_checks.chart import check_chart
from nimify.conformance.offline_checks.chart_values import check_chart_values
from nimify.conformance.offline_checks.kube_linter import check_kube_linter
from nimify.conformance.offline_checks.kube_score import check_kube_score
from nimify.conformance.offline_checks.kubernetes_schemas import check_kubernetes_schemas
from nimify.conformance.rendering import KUBERNETES
from nimify.conformance.report import CheckResult, Status
from nimify.conformance.schema_reader import read_against_schema

CheckOf = Callable[..., CheckResult]
FakeProgram = Callable[[str, str], Path]
Need = Callable[..., None]
FOUND = {
    "Check": "no-anti-affinity",
    "Diagnostic": {"Message": "object has 2 replicas but does not specify inter pod anti-affinity"},
    "Object": {"K8sObject": {"Name": "digits"}},
}


def edit(path: Path, before: str, after: str) -> None:
    text = path.read_text()
    assert before in text
    path.write_text(text.replace(before, after, 1))


def test_helm_takes_the_chart(broken: Path, check_of: CheckOf, need: Need) -> None:
    """Linted strictly, and rendered."""
    need("helm")
    assert check_of(check_chart, broken).status is Status.PASSED


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        ("templates/extra.yaml", "{{ .Values.no.such }}", "helm lint refuses the chart"),
        ("templates/extra.yaml", "a: {{ end", "parse error"),
        ("templates/extra.yaml", '{{- fail "halt" }}', "halt"),
        ("Chart.yaml", "name: [", "Chart.yaml"),
        ("values.yaml", "replicaCount: many\n", "[ERROR] values.yaml"),
    ],
)
def test_helm_refuses_what_is_wrong(
    file: str, text: str, said: str, broken: Path, check_of: CheckOf, need: Need
) -> None:
    """The reason is Helm's, in one line."""
    need("helm")
    (broken / "chart" / file).write_text(text)
    result = check_of(check_chart, broken)
    assert result.status is Status.FAILED
    assert said in result.message
    assert "\n" not in result.message


def test_a_template_without_end_is_ended(broken: Path, check_of: CheckOf, need: Need) -> None:
    """Memory is bounded, and so is what is said of it."""
    need("helm")
    (broken / "chart" / "templates" / "loop.yaml").write_text(
        '{{- define "l" }}{{ include "l" . }}{{ end }}{{ include "l" . }}'
    )
    result = check_of(check_chart, broken)
    assert result.status is Status.FAILED
    assert len(result.message) < 400


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("$ref", "file:///etc/passwd"),
        ("$ref", "http://127.0.0.1:9/schema"),
        ("$schema", "http://127.0.0.1:9/dialect"),
        ("$id", "http://127.0.0.1:9/"),
    ],
)
def test_a_schema_that_leads_elsewhere_is_not_followed(key: str, value: str, broken: Path, fake: FakeProgram) -> None:
    """Helm would fetch it, so Helm is not asked; nor is any other reader of the chart."""
    fake("helm", "touch asked; exit 1")
    path = broken / "chart" / "values.schema.json"
    schema: dict[str, Any] = json.loads(path.read_text())
    schema["properties"]["replicaCount"] = {key: value}
    path.write_text(json.dumps(schema))
    report = validate_bundle(broken, checks=chosen_checks(["chart-values", "chart"]))
    assert [result.status for result in report.results] == [Status.FAILED, Status.FAILED]
    assert all(f"refers to '{value}'" in result.message for result in report.results)


def test_other_charts_within_are_not_read(broken: Path, need: Need) -> None:
    """The chart that nimify writes has none, and they may be archives of anything."""
    need("helm")
    (broken / "chart" / "charts").mkdir()
    (broken / "chart" / "charts" / "x.tgz").write_bytes(b"x")
    (result,) = validate_bundle(broken, checks=chosen_checks(["chart"])).results
    assert (result.status, "none of nimify's" in result.message) == (Status.FAILED, True)


@pytest.mark.usefixtures("no_programs")
@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("replicaCount: 2", "replicaCount: two", "'two' is not of type 'integer' (at 'replicaCount')"),
        ("replicaCount: 2", "replicaCont: 2", "replicaCont"),
        ("replicaCount: 2", "replicaCount: [", "cannot be read"),
        ("replicaCount: 2", "replicaCount: &a [2]\nx: *a", "it uses anchors"),
        ("replicaCount: 2", "replicaCount: " + "[" * 5000, "cannot be read"),
    ],
)
def test_values_keep_to_their_schema(before: str, after: str, said: str, broken: Path, check_of: CheckOf) -> None:
    """Read without Helm, so that every machine can."""
    edit(broken / "chart" / "values.yaml", before, after)
    result = check_of(check_chart_values, broken)
    assert result.status is Status.FAILED
    assert said in result.message


def test_a_pattern_without_end_is_ended(tmp_path: Path) -> None:
    """A regular expression can take longer than the universe; the reader is ended, and says so."""
    (tmp_path / "values.yaml").write_text(f"a: {'x' * 64}!\n")
    (tmp_path / "schema.json").write_text(json.dumps({"properties": {"a": {"pattern": "^(x+x+)+$"}}}))
    reading = read_against_schema("values", "values.yaml", "schema.json", folder=tmp_path, timeout_s=3)
    assert reading.problem is not None
    assert "did not end within 3 seconds" in reading.problem


def test_strict_schemas_take_what_is_rendered(broken: Path, check_of: CheckOf, need: Need) -> None:
    """Kinds of others, which Kubernetes has no schema for, are named."""
    need("helm")
    assert check_of(check_kubernetes_schemas, broken).status is Status.PASSED
    edit(broken / "chart" / "values.yaml", "  scrape: none", "  scrape: serviceMonitor")
    result = check_of(check_kubernetes_schemas, broken)
    assert result.status is Status.PASSED
    assert "it has none for ServiceMonitor" in result.message


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("apiVersion: v1\nkind: Service\nmetadata: {name: x}\nspec: {prots: []}", "'prots' was unexpected"),
        ("apiVersion: v1\nkind: ../../../etc/x\nmetadata: {name: x}", "it has no kind"),
        ("apiVersion: ../v1\nkind: Service\nmetadata: {name: x}", "Service has no apiVersion"),
        ("apiVersion: v1\nkind: Service\nmetadata: &m {name: x}\nspec: *m", "it uses anchors"),
        ("- 1", "it has no kind"),
    ],
)
def test_strict_schemas_refuse_what_kubernetes_does_not_know(text: str, said: str, tmp_path: Path) -> None:
    """A misspelt field would be dropped silently by a cluster."""
    (tmp_path / "rendered.yaml").write_text(text)
    reading = read_against_schema("kubernetes", "rendered.yaml", KUBERNETES, folder=tmp_path)
    assert reading.problem is not None
    assert said in reading.problem


def test_a_template_that_kubernetes_does_not_know_fails(broken: Path, check_of: CheckOf, need: Need) -> None:
    """Through the whole chain: Helm renders it, and the schema of its kind refuses it."""
    need("helm")
    edit(broken / "chart" / "templates" / "service.yaml", "ports:", "prots:")
    result = check_of(check_kubernetes_schemas, broken)
    assert result.status is Status.FAILED
    assert "'prots' was unexpected" in result.message


def test_kube_score_finds_only_what_is_accepted(broken: Path, check_of: CheckOf, need: Need) -> None:
    """The accepted checks are named, so that nobody takes silence for consent."""
    need("helm", "kube-score")
    result = check_of(check_kube_score, broken)
    assert result.status is Status.PASSED
    assert "container-resources" in result.message


def test_kube_score_finds_what_is_worse(broken: Path, check_of: CheckOf, need: Need) -> None:
    """Something critical fails the check, with its object."""
    need("helm", "kube-score")
    edit(
        broken / "chart" / "templates" / "deployment.yaml",
        "readOnlyRootFilesystem: true",
        "readOnlyRootFilesystem: false",
    )
    result = check_of(check_kube_score, broken)
    assert result.status is Status.FAILED
    assert "container-security-context-readonlyrootfilesystem in Deployment" in result.message


@pytest.mark.parametrize("check", [check_kubernetes_schemas, check_kube_score, check_kube_linter])
def test_a_chart_that_is_not_rendered_leaves_its_readers_nothing(
    check: Callable[..., Any], broken: Path, check_of: CheckOf, fake: FakeProgram
) -> None:
    """The check of the chart fails; the others say that they read nothing."""
    for name in ("kube-score", "kube-linter"):
        fake(name, "exit 0")
    fake("helm", "echo broken >&2; exit 1")
    result = check_of(check, broken)
    assert result.status is Status.SKIPPED
    assert "helm does not render it" in result.message


@pytest.mark.parametrize(
    ("reports", "status", "said"),
    [
        (None, Status.PASSED, "nothing but what is accepted"),
        ([{**FOUND, "Check": "unset-cpu-requirements"}], Status.PASSED, "nothing but what is accepted"),
        ([FOUND], Status.FAILED, "no-anti-affinity: object has 2 replicas"),
    ],
)
def test_kube_linter_decides(
    reports: Any, status: Status, said: str, broken: Path, check_of: CheckOf, fake: FakeProgram
) -> None:
    """In the form that its JSON has; it ends with 1 when it found something."""
    fake("helm", "echo 'kind: Service'")
    fake("kube-linter", f"echo '{json.dumps({'Reports': reports})}'; exit {int(bool(reports))}")
    result = check_of(check_kube_linter, broken)
    assert result.status is status
    assert said in result.message


@pytest.mark.parametrize("program", ["kube-score", "kube-linter"])
@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("echo 'unknown flag' >&2; exit 1", "unknown flag"),
        ("echo '{}'", "does not read"),
        ("echo '[1]'", "does not read"),
        ("cat /dev/zero", "wrote more than 8 MiB"),
    ],
)
def test_a_reader_that_fails_is_no_green_check(
    program: str, script: str, said: str, broken: Path, check_of: CheckOf, fake: FakeProgram
) -> None:
    """Whatever it does instead of reading, the check fails in one sentence."""
    fake("helm", "echo 'kind: Service'")
    fake(program, script)
    result = check_of(check_kube_score if program == "kube-score" else check_kube_linter, broken)
    assert result.status is Status.FAILED
    assert said in result.message
