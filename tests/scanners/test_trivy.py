"""`nimify scan` with the real trivy, and a database that holds made-up vulnerabilities of packages that images have."""

from __future__ import annotations

import datetime
import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.chart.conftest import IMAGE, Combination, merged
from tests.scanners.conftest import only_scanner
from tests.scanners.trivy_database import write_database
from tests.scanners.vulnerability import Vulnerability, check_all_found, of_a_bundle

from nimify.artifacts.yaml_file import yaml_text
from nimify.cli import main
from nimify.conformance.offline_checks.trivy import ACCEPTED
from nimify.scanning.scan import Kind, Level, Scan, Target
from nimify.scanning.scanning import scan

pytestmark = pytest.mark.scanners

SOME = of_a_bundle(least="low")
ALWAYS_ACCEPTED = {"KSV-0011", "KSV-0125"}
"""What the default chart is told; the others that are accepted, only values ask for."""
BAD_DOCKERFILE = "FROM python:latest\nUSER root\n"


@pytest.fixture
def trivy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Its path; it is the only scanner here, asks nobody for a database or for checks, and has no database."""
    for name, value in (("CACHE_DIR", str(tmp_path / "cache")), ("SKIP_DB_UPDATE", "true")):
        monkeypatch.setenv(f"TRIVY_{name}", value)
    monkeypatch.setenv("TRIVY_SKIP_CHECK_UPDATE", "true")
    return only_scanner("trivy", tmp_path / "bin", monkeypatch)


@pytest.fixture
def knowing(trivy: str, tmp_path: Path) -> Callable[..., None]:
    """Give it a database."""

    def give(*vulnerabilities: Vulnerability) -> None:
        write_database(tmp_path / "cache", vulnerabilities, made=datetime.datetime.now(datetime.UTC))

    return give


def scanned(path: Path, kind: Kind) -> Scan:
    (result,) = scan(Target(path), (kind,), timeout_s=120)
    return result


def test_the_packages_of_a_bundle_are_found_out(knowing: Callable[..., None], make_bundle: Callable[..., Path]) -> None:
    """Each with its level, the installed version and what mends it; a version that has it no more is no issue."""
    knowing(*SOME)

    check_all_found(scanned(make_bundle("tiny"), Kind.VULNERABILITIES))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("IGNORE_UNFIXED", "true"),
        ("IGNORE_STATUS", "affected,fixed"),
        ("SKIP_FILES", "container/requirements.txt"),
        ("PKG_TYPES", "os"),
        ("SEVERITY", "LOW"),
    ],
)
def test_no_variable_hides_a_vulnerability(
    knowing: Callable[..., None],
    make_bundle: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    value: str,
) -> None:
    """What trivy is told there to leave out is the gate's to decide."""
    knowing(*SOME)
    monkeypatch.setenv(f"TRIVY_{name}", value)

    result = scanned(make_bundle("tiny"), Kind.VULNERABILITIES)

    assert result.not_scanned == ""
    assert {issue.id for issue in result.issues} == {vulnerability.id for vulnerability in SOME[:4]}


def test_nothing_recognised_is_not_scanned(knowing: Callable[..., None], tmp_path: Path) -> None:
    """To trivy a folder without packages is as clean as any."""
    knowing(*SOME)
    (tmp_path / "empty").mkdir()

    assert scanned(tmp_path / "empty", Kind.VULNERABILITIES).not_scanned == "trivy recognised no packages in it"


def test_a_clean_bundle_is_clean(knowing: Callable[..., None], make_bundle: Callable[..., Path]) -> None:
    """Packages that were looked at, and nothing known against them."""
    knowing(SOME[-1])

    result = scanned(make_bundle("tiny"), Kind.VULNERABILITIES)

    assert (result.not_scanned, result.issues) == ("", ())


def test_without_a_database_nothing_is_scanned(trivy: str, make_bundle: Callable[..., Path]) -> None:
    """Its own words are the reason."""
    assert "cannot be specified on the first run" in scanned(make_bundle("tiny"), Kind.VULNERABILITIES).not_scanned


def test_the_gate_counts_what_trivy_found(
    knowing: Callable[..., None],
    make_bundle: Callable[..., Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """`nimify scan` fails for the grave ones, and passes when each is accepted with a reason and a day."""
    knowing(*SOME)
    kinds = ("--only", "vulnerabilities", "--only", "misconfiguration")
    command = ["scan", str(make_bundle("tiny")), *kinds, "--json"]
    assert main(command) == 1
    failing = {issue["id"] for issue in json.loads(capsys.readouterr().out)["failing"]}
    assert failing == {"GHSA-aaaa-aaaa-aaaa", "GHSA-dddd-dddd-dddd"}

    accepted = tmp_path / "accepted.yaml"
    accepted.write_text(
        "ignore:\n" + "".join(f"  - {{id: {name}, reason: made up, expires: 2999-12-31}}\n" for name in sorted(failing))
    )

    assert main([*command, "--ignore-file", str(accepted)]) == 0


def test_trivy_reads_the_bill_of_materials(
    knowing: Callable[..., None],
    trivy: str,
    make_bundle: Callable[..., Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """What `nimify sbom` writes is enough to find the same vulnerabilities without the bundle."""
    knowing(*SOME)
    listing = tmp_path / "sbom.cdx.json"
    assert main(["sbom", str(make_bundle("tiny")), "-o", str(listing)]) == 0
    capsys.readouterr()

    done = subprocess.run(
        [trivy, "sbom", "--quiet", "--format", "json", str(listing)], capture_output=True, timeout=120, check=True
    )

    found = [row["VulnerabilityID"] for result in json.loads(done.stdout)["Results"] for row in vulnerabilities(result)]
    assert set(found) == {vulnerability.id for vulnerability in SOME[:4]}


def vulnerabilities(result: dict[str, Any]) -> list[dict[str, Any]]:
    return result.get("Vulnerabilities") or []


def test_the_configuration_of_a_bundle_is_as_it_should_be(trivy: str, make_bundle: Callable[..., Path]) -> None:
    """Both Dockerfiles and the chart are read, custom resources too, and nothing is found but what is accepted."""
    bundle = make_bundle("tiny", **{"with": ["compose", "nim-operator", "kserve"]})

    result = scanned(bundle, Kind.MISCONFIGURATION)

    assert result.not_scanned == ""
    assert {issue.id for issue in result.issues} == ALWAYS_ACCEPTED
    assert {issue.where for issue in result.issues} == {"chart/templates/deployment.yaml"}
    assert not any(issue.level.reaches(Level.HIGH) for issue in result.issues)


@pytest.mark.timeout(1800)
def test_no_combination_of_the_chart_s_features_is_misconfigured(
    trivy: str, all_combinations: list[Combination], make_bundle: Callable[..., Path], tmp_path: Path
) -> None:
    """Whatever is chosen: nothing of HIGH or above, and below it only what is accepted with a reason."""
    chart = make_bundle("digits") / "chart"
    found: dict[str, set[str]] = {}
    for combination in all_combinations:
        values = tmp_path / "values.yaml"
        values.write_text(yaml_text(merged(IMAGE, combination.values)))
        rows, read = rendered(trivy, chart, values)
        assert "templates/deployment.yaml" in read, combination.name
        for row in rows:
            assert row["Severity"] not in {"HIGH", "CRITICAL", "UNKNOWN"}, (combination.name, row["ID"])
            found.setdefault(row["ID"], set()).add(combination.name)

    assert found.keys() == ACCEPTED.keys()
    assert {name for name, where in found.items() if "default" in where} == ALWAYS_ACCEPTED


def rendered(trivy: str, chart: Path, values: Path) -> tuple[list[dict[str, Any]], set[str]]:
    """What trivy finds in a chart with some values, and which of its templates it read."""
    place = ("--misconfig-scanners", "helm", "--helm-kube-version", "1.37.0", "--helm-values", str(values))
    done = subprocess.run(
        [trivy, "config", "--quiet", "--format", "json", *place, "--", str(chart)],
        capture_output=True,
        timeout=300,
        check=True,
    )
    results = json.loads(done.stdout).get("Results") or []
    rows = [row for result in results for row in result.get("Misconfigurations") or ()]
    return rows, {result["Target"] for result in results}


def test_a_bad_chart_and_a_bad_dockerfile_are_found(
    trivy: str, make_bundle: Callable[..., Path], tmp_path: Path
) -> None:
    """The scan above can fail: a container that may write to its root, and one that runs as root."""
    bundle = shutil.copytree(make_bundle("tiny"), tmp_path / "bundle")
    template = bundle / "chart/templates/deployment.yaml"
    template.write_text(template.read_text().replace("readOnlyRootFilesystem: true", "readOnlyRootFilesystem: false"))
    (bundle / "container/Dockerfile.cpu").write_text(BAD_DOCKERFILE)

    result = scanned(bundle, Kind.MISCONFIGURATION)

    grave = {(issue.id, issue.where) for issue in result.issues if issue.level is Level.HIGH}
    assert ("KSV-0014", "chart/templates/deployment.yaml") in grave
    assert ("DS-0002", "container/Dockerfile.cpu") in grave


@pytest.mark.parametrize(
    ("name", "value"),
    [("SKIP_FILES", "Dockerfile"), ("MISCONFIG_SCANNERS", "terraform"), ("IGNOREFILE", "IGNORED"), ("CONFIG", "SET")],
)
def test_no_variable_hides_a_misconfiguration(
    trivy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    """Neither does an ignore list, nor a file of settings."""
    (tmp_path / "target").mkdir()
    (tmp_path / "target/Dockerfile").write_text(BAD_DOCKERFILE)
    (tmp_path / "IGNORED").write_text("DS-0002\n")
    (tmp_path / "SET").write_text(yaml.safe_dump({"scan": {"skip-files": ["Dockerfile"]}}))
    monkeypatch.setenv(f"TRIVY_{name}", str(tmp_path / value) if value.isupper() else value)

    result = scanned(tmp_path / "target", Kind.MISCONFIGURATION)

    assert result.not_scanned == ""
    assert "DS-0002" in {issue.id for issue in result.issues}


@pytest.mark.parametrize("file", ["container/Dockerfile.cpu", "chart/templates/deployment.yaml"])
def test_a_comment_that_hides_something_is_found_out(
    trivy: str, make_bundle: Callable[..., Path], tmp_path: Path, file: str
) -> None:
    """Trivy obeys what stands in the target, so what has such a comment was not scanned."""
    bundle = shutil.copytree(make_bundle("tiny"), tmp_path / "bundle")
    with (bundle / file).open("a") as stream:
        stream.write("\n#trivy:ignore:DS-0002\n")

    assert scanned(bundle, Kind.MISCONFIGURATION).not_scanned == f"{file} tells trivy to ignore what it finds"


@pytest.mark.parametrize(
    ("file", "text", "named"),
    [
        ("container/Dockerfile", "hello\n", "container/Dockerfile"),
        ("chart/Chart.yaml", "apiVersion: v2\nname: x\nversion: not a version\n", "chart"),
    ],
)
def test_what_trivy_passes_over_is_not_scanned(trivy: str, tmp_path: Path, file: str, text: str, named: str) -> None:
    """To trivy a file that it cannot read is as clean as any."""
    path = tmp_path / "target" / file
    path.parent.mkdir(parents=True)
    path.write_text(text)

    assert (
        scanned(tmp_path / "target", Kind.MISCONFIGURATION).not_scanned
        == f"trivy could not read {named}, and passed over it"
    )
