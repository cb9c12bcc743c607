"""Checks of a bundle on disk: all pass on what nimify writes, and each one fails on what it is there for."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from nimify.conformance.offline import CHECKS, OfflineCheck, chosen_checks, validate_bundle
from nimify.conformance.report import CheckResult, Report, Status
from nimify.errors import BundleError, ConfigError
from nimify.serving.spec import ServiceSpec

BundleOf = Callable[..., Path]
Need = Callable[..., None]
OURS = ("manifest", "settings", "plan", "triton-config", "openapi", "model", "golden")
"""Checks that need no program of others."""


@pytest.fixture(scope="session")
def ours() -> dict[str, OfflineCheck]:
    return chosen_checks(OURS)


def results(report: Report) -> dict[str, CheckResult]:
    return {result.name: result for result in report.results}


def result_of(name: str, bundle: Path) -> CheckResult:
    (result,) = validate_bundle(bundle, checks={name: CHECKS[name]}).results
    return result


def edit_json(path: Path, change: Callable[[dict[str, object]], object]) -> None:
    data = json.loads(path.read_bytes())
    change(data)
    path.write_text(json.dumps(data))


@pytest.mark.parametrize("kind", ["digits", "text", "strings", "bf16", "external-data", "scalar-output", "if"])
def test_a_new_bundle_passes_every_check(kind: str, bundle_of: BundleOf, ours: dict[str, OfflineCheck]) -> None:
    """Whatever the model, its bundle is sound when it is written."""
    report = validate_bundle(bundle_of(kind), checks=ours)
    assert {result.name: result.status for result in report.results} == dict.fromkeys(OURS, Status.PASSED)
    assert not report.failed(strict=True)


def test_every_program_takes_a_new_bundle(bundle_of: BundleOf, need: Need) -> None:
    """The real programs read what nimify writes; a check is skipped only where its program is missing."""
    need("hadolint", "helm", "kube-score")
    report = validate_bundle(bundle_of("tiny", "compose"))
    skips = [result.name for result in report.results if result.status is Status.SKIPPED]
    assert [result.name for result in report.results] == list(CHECKS)
    assert not report.failed(strict=True), report
    assert set(skips) <= {"kube-linter", "trivy", "compose", "monitoring"}


@pytest.mark.usefixtures("no_programs")
def test_without_programs_a_bundle_is_valid_and_the_report_says_what_nobody_read(bundle_of: BundleOf) -> None:
    """Each missing program is named, with how to get it; what we read ourselves is read."""
    report = validate_bundle(bundle_of("tiny", "compose"))
    skips = {name: result for name, result in results(report).items() if result.status is Status.SKIPPED}
    assert skips.keys() == {
        "dockerfiles",
        "chart",
        "kubernetes",
        "kube-score",
        "kube-linter",
        "trivy",
        "compose",
        "monitoring",
    }
    assert all("is not installed" in result.message and "nstall" in result.remedy for result in skips.values())
    assert results(report)["chart-values"].status is Status.PASSED
    assert not report.failed(strict=True)
    assert report.without_skips().failed()
    assert report.without_skips(["chart"]).failed()
    assert not report.without_skips(["chart-values"]).failed()


def test_what_the_bundle_does_not_have_is_not_in_the_report(bundle_of: BundleOf) -> None:
    """A skip would say that something was left unread."""
    assert validate_bundle(bundle_of("tiny"), checks=chosen_checks(["compose"])).results == ()


def test_a_check_that_is_none_is_refused_with_the_names() -> None:
    """A typing error must not be a check that passes."""
    with pytest.raises(ConfigError, match="no check 'hadolint'") as caught:
        chosen_checks(["manifest", "hadolint"])
    assert "dockerfiles" in caught.value.remedy


def test_a_changed_file_is_a_warning_until_strict(broken: Path, ours: dict[str, OfflineCheck]) -> None:
    """The owner may have meant it, so only --strict fails."""
    (broken / "nimify.schema.json").write_text("{}")
    report = validate_bundle(broken, checks=ours)
    assert results(report)["manifest"].status is Status.WARNING
    assert "nimify.schema.json" in results(report)["manifest"].message
    assert (report.failed(), report.failed(strict=True)) == (False, True)


def test_a_missing_file_fails(broken: Path, ours: dict[str, OfflineCheck]) -> None:
    """A file of the manifest that is gone is named."""
    (broken / "golden" / "golden.json").unlink()
    found = results(validate_bundle(broken, checks=ours))
    assert found["manifest"].status is Status.FAILED
    assert "golden/golden.json" in found["manifest"].message
    assert found["golden"].status is Status.SKIPPED


def test_a_broken_configuration_fails(broken: Path) -> None:
    """Triton's own schema reads config.pbtxt, so a typing error is found."""
    (broken / "model_repository/tiny/config.pbtxt").write_text('name: "tiny"\nmax_batch_sise: 3\n')
    assert result_of("triton-config", broken).status is Status.FAILED


@pytest.mark.parametrize(
    ("before", "after", "field"),
    [("dims: 4", "dims: 5", "input"), ("max_batch_size: 32", "max_batch_size: 7", "max_batch_size")],
)
def test_a_configuration_of_another_model_fails(before: str, after: str, field: str, broken: Path) -> None:
    """The configuration must agree with the signature; the field that does not is named."""
    path = broken / "model_repository/tiny/config.pbtxt"
    path.write_text(path.read_text().replace(before, after, 1))
    found = result_of("triton-config", broken)
    assert found.status is Status.FAILED
    assert f"'{field}'" in found.message


def test_an_invalid_openapi_document_fails(broken: Path) -> None:
    """A public validator reads openapi.json."""
    edit_json(broken / "openapi.json", lambda document: document.pop("info"))
    found = result_of("openapi", broken)
    assert found.status is Status.FAILED
    assert "info" in found.message


def test_an_exchanged_model_fails(broken: Path) -> None:
    """A model with another digest is not the one that was planned for."""
    with (broken / ServiceSpec.load(broken).model_file).open("ab") as stream:
        stream.write(b"\0")
    assert "does not match its digest" in result_of("model", broken).message


def test_another_signature_fails(broken: Path) -> None:
    """plan.json cannot promise what the file does not hold."""

    def rename(document: dict[str, object]) -> None:
        text = json.dumps(document["service"]).replace('"x"', '"z"')
        document["service"] = json.loads(text)

    edit_json(broken / "plan.json", rename)
    found = result_of("model", broken)
    assert found.status is Status.FAILED
    assert "other inputs or outputs" in found.message


def test_another_answer_fails(broken: Path) -> None:
    """A golden answer that the model no longer gives is shown with the worst element."""

    def change(document: dict[str, object]) -> None:
        outputs = document["outputs"]
        assert isinstance(outputs, list)
        outputs[0]["data"][2] += 1

    edit_json(broken / "golden" / "batch-1.response.json", change)
    found = result_of("golden", broken)
    assert found.status is Status.FAILED
    assert "element 2" in found.message


def test_settings_that_are_not_carried_out_are_a_warning(broken: Path) -> None:
    """Editing nimify.yaml without running create again is noticed."""
    (broken / "nimify.yaml").write_text("threads: 7\nname: tiny\n")
    found = result_of("settings", broken)
    assert found.status is Status.WARNING
    assert "threads" in found.message


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("deployment: {family: triton}", "deployment.family"),
        ("deployment: {scaling: {max_replicas: 30}}", "deployment.scaling.max_replicas"),
        ("objectives: {availability: 0.95}", "objectives.availability"),
        ("resources: {memory_limit: 7Gi}", "resources.memory_limit"),
        ("resources: {gpu: h100-sxm}", "resources.gpu"),
        ("collectors: [cgroup]", "collectors"),
        ("license: {name: MIT}", "license.name"),
        ("with: [kserve]", "with"),
        ("deployment: {node_selector: {disk: ssd}}", "deployment.node_selector"),
        ("deployment: {monitoring: true}", "deployment.monitoring"),
        ("deployment: {scaling: {prometheus: 'http://prometheus:9090'}}", "deployment.scaling.prometheus"),
    ],
)
def test_every_decision_that_is_not_carried_out_is_noticed(text: str, key: str, broken: Path) -> None:
    """Whatever stage carries it out, and nothing else is named."""
    (broken / "nimify.yaml").write_text(f"{text}\n")
    found = result_of("settings", broken)
    assert found.status is Status.WARNING
    assert found.message.endswith(f": {key}.")


def test_a_gpu_may_be_asked_for_in_any_case(broken: Path) -> None:
    """The plan has it as the catalogue writes it, and carries it out all the same."""
    (broken / "nimify.yaml").write_text("resources: {gpu: t4}\n")
    assert result_of("settings", broken).status is Status.PASSED


def test_settings_that_cannot_be_read_fail(broken: Path) -> None:
    """A typing error in nimify.yaml is reported with a suggestion."""
    (broken / "nimify.yaml").write_text("thread: 7\n")
    found = result_of("settings", broken)
    assert found.status is Status.FAILED
    assert "threads" in found.remedy


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"service": {}}'])
def test_a_damaged_plan_is_results_not_a_traceback(damage: str, broken: Path, ours: dict[str, OfflineCheck]) -> None:
    """Every check that needs the plan fails in words; the others go on."""
    (broken / "plan.json").write_text(damage)
    report = validate_bundle(broken, checks=ours)
    assert len(report.results) == len(ours)
    assert results(report)["plan"].status is Status.FAILED


def test_a_folder_that_is_no_bundle_is_an_error(tmp_path: Path) -> None:
    """There is nothing to check, and the remedy says how to make one."""
    with pytest.raises(BundleError, match="is no bundle") as caught:
        validate_bundle(tmp_path)
    assert "nimify create" in caught.value.remedy


def test_a_report_prints_as_json(bundle_of: BundleOf, ours: dict[str, OfflineCheck]) -> None:
    """Scripts read the same as people."""
    report = validate_bundle(bundle_of("tiny"), checks=ours)
    data = json.loads(json.dumps(report.to_dict()))
    assert data["passed"] is True
    assert [row["name"] for row in data["results"]] == list(OURS)
