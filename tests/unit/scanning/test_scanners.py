"""The scanners of others: their reports read strictly, and every way in which they fail told apart from clean."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.unit.scanning.conftest import FakeScanner, calls_of

from nimify.scanning.scan import Kind, Level, Scan, Target
from nimify.scanning.scanning import scan

_TRIVY_IMAGE: dict[str, Any] = {
    "SchemaVersion": 2,
    "ArtifactName": "team/digits:1.0",
    "ArtifactType": "container_image",
    "Metadata": {"OS": {"Family": "debian", "Name": "12.11"}},
    "Results": [
        {
            "Target": "team/digits:1.0 (debian 12.11)",
            "Class": "os-pkgs",
            "Type": "debian",
            "Vulnerabilities": [
                {
                    "VulnerabilityID": "CVE-2026-1001",
                    "PkgName": "openssl",
                    "InstalledVersion": "3.0.1",
                    "FixedVersion": "3.0.2",
                    "Severity": "CRITICAL",
                    "Title": "openssl: a hole",
                },
                {
                    "VulnerabilityID": "CVE-2026-1002",
                    "PkgName": "zlib1g",
                    "InstalledVersion": "1.2",
                    "Severity": "UNKNOWN",
                },
            ],
        },
        {"Target": "Python", "Class": "lang-pkgs", "Type": "python-pkg"},
    ],
}
_TRIVY_CONFIG: dict[str, Any] = {
    "SchemaVersion": 2,
    "Results": [
        {
            "Target": "container/Dockerfile.cpu",
            "Class": "config",
            "Type": "dockerfile",
            "MisconfSummary": {"Successes": 20, "Failures": 1},
            "Misconfigurations": [
                {
                    "Type": "Dockerfile Security Check",
                    "ID": "DS-0002",
                    "Title": "Image user should not be 'root'",
                    "Message": "Specify at least 1 USER command",
                    "Resolution": "Add 'USER <non root user name>'",
                    "Severity": "HIGH",
                    "Status": "FAIL",
                },
                {"ID": "DS-0026", "Title": "No HEALTHCHECK", "Severity": "LOW", "Status": "PASS"},
            ],
        }
    ],
}
_GRYPE: dict[str, Any] = {
    "matches": [
        {
            "vulnerability": {
                "id": "GHSA-xxxx-yyyy-zzzz",
                "severity": "Medium",
                "description": "A hole in a package.",
                "fix": {"versions": ["2.0.1"], "state": "fixed"},
            },
            "artifact": {"name": "numpy", "version": "2.0.0", "type": "python"},
        },
        {
            "vulnerability": {
                "id": "CVE-2026-1003",
                "severity": "Negligible",
                "fix": {"versions": [], "state": "wont-fix"},
            },
            "artifact": {"name": "tar", "version": "1.34", "type": "deb"},
        },
    ],
    "source": {"type": "image"},
    "distro": {"name": "debian", "version": "12"},
    "descriptor": {"name": "grype", "version": "0.100.0"},
}
_HADOLINT = [
    {"code": "DL3007", "column": 1, "file": "FILE", "level": "warning", "line": 1, "message": "Using latest is prone"}
]
_IMAGE = Target(image="team/digits:1.0")


def _scanned(target: Target, kind: Kind, timeout_s: float = 60.0) -> list[Scan]:
    return scan(target, (kind,), timeout_s=timeout_s)


def test_trivy_reads_an_image(fake_scanner: FakeScanner) -> None:
    """Each vulnerability has its level, its package and its fix; all levels are asked for."""
    notes = fake_scanner("trivy", _TRIVY_IMAGE)

    (result,) = _scanned(_IMAGE, Kind.VULNERABILITIES)

    first, second = result.issues
    assert (first.id, first.level, first.where, first.remedy) == (
        "CVE-2026-1001", Level.CRITICAL, "openssl 3.0.1", "Fixed in 3.0.2.",
    )  # fmt: skip
    assert (second.level, second.remedy) == (Level.UNKNOWN, "")
    (call,) = calls_of(notes)
    assert call["arguments"][0] == "image"
    assert call["arguments"][-2:] == ["--", "team/digits:1.0"]
    assert "UNKNOWN,LOW,MEDIUM,HIGH,CRITICAL" in call["arguments"]


def test_scanners_run_in_an_empty_folder(
    fake_scanner: FakeScanner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An ignore list that lies in the working folder, or in the target, is not the scanner's to find."""
    (tmp_path / ".trivyignore").write_text("CVE-2026-1001\n")
    monkeypatch.chdir(tmp_path)
    notes = fake_scanner("trivy", _TRIVY_IMAGE)

    _scanned(_IMAGE, Kind.VULNERABILITIES)

    assert [call["files"] for call in calls_of(notes)] == [[]]


def test_a_system_without_updates_is_an_issue(fake_scanner: FakeScanner) -> None:
    """Where no updates come, no vulnerabilities are listed either."""
    fake_scanner("trivy", {**_TRIVY_IMAGE, "Metadata": {"OS": {"Family": "debian", "Name": "9.1", "EOSL": True}}})

    (result,) = _scanned(_IMAGE, Kind.VULNERABILITIES)

    assert [(issue.id, issue.where) for issue in result.issues if issue.id.startswith("image.")] == [
        ("image.end-of-life", "debian 9.1")
    ]


def test_grype_reads_an_image(fake_scanner: FakeScanner) -> None:
    """Its names of levels become ours."""
    fake_scanner("grype", _GRYPE)

    (result,) = _scanned(_IMAGE, Kind.VULNERABILITIES)

    assert [(issue.id, issue.level, issue.where) for issue in result.issues] == [
        ("GHSA-xxxx-yyyy-zzzz", Level.MEDIUM, "numpy 2.0.0"),
        ("CVE-2026-1003", Level.LOW, "tar 1.34"),
    ]


def test_grype_is_told_that_a_folder_is_one(fake_scanner: FakeScanner, tmp_path: Path) -> None:
    """A folder must not be taken for the name of an image."""
    notes = fake_scanner("grype", _GRYPE)

    _scanned(Target(tmp_path), Kind.VULNERABILITIES)

    assert calls_of(notes)[0]["arguments"][-1] == f"dir:{tmp_path}"


@pytest.mark.parametrize(
    ("image", "named"),
    [("docker:27", "docker.io/library/docker:27"), ("localhost/digits:1.0", "localhost/digits:1.0")],
)
def test_an_image_is_not_taken_for_a_kind_of_source(fake_scanner: FakeScanner, image: str, named: str) -> None:
    """To grype, what stands before the first colon may say where to look."""
    notes = fake_scanner("grype", _GRYPE)

    _scanned(Target(image=image), Kind.VULNERABILITIES)

    assert calls_of(notes)[0]["arguments"][-1] == named


def test_trivy_reads_the_configuration_of_a_folder(fake_scanner: FakeScanner, tmp_path: Path) -> None:
    """Failed checks become issues, passed ones do not."""
    fake_scanner("trivy", _TRIVY_CONFIG)

    (result,) = _scanned(Target(tmp_path), Kind.MISCONFIGURATION)

    assert [(issue.id, issue.level, issue.where) for issue in result.issues] == [
        ("DS-0002", Level.HIGH, "container/Dockerfile.cpu")
    ]


def test_what_trivy_passes_over_is_not_scanned(fake_scanner: FakeScanner, tmp_path: Path) -> None:
    """It says nothing of a Dockerfile that it cannot parse, and of a chart that it cannot render; issues stay."""
    (tmp_path / "container").mkdir()
    for name in ("Dockerfile.cpu", "Dockerfile.triton"):
        (tmp_path / "container" / name).write_text("FROM x\n")
    fake_scanner("trivy", _TRIVY_CONFIG)

    (result,) = _scanned(Target(tmp_path), Kind.MISCONFIGURATION)

    assert result.not_scanned == "trivy could not read container/Dockerfile.triton, and passed over it"
    assert [issue.id for issue in result.issues] == ["DS-0002"]


def test_a_chart_that_is_passed_over_is_rendered_for_some_image(fake_scanner: FakeScanner, tmp_path: Path) -> None:
    """A bundle does not name an image, and its chart renders for a named one only; charts in charts are part of it."""
    for folder in ("bundle/chart", "bundle/chart/charts/other"):
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        (tmp_path / folder / "Chart.yaml").write_text("name: x\n")
    rows = [{"Target": "templates/deployment.yaml", "Class": "config", "Type": "helm"}]
    notes = fake_scanner("trivy", {"SchemaVersion": 2, "Results": rows})

    (result,) = _scanned(Target(tmp_path / "bundle"), Kind.MISCONFIGURATION)

    assert result.not_scanned == ""
    first, second = (call["arguments"] for call in calls_of(notes))
    assert "--helm-set-string" not in first
    assert any(word.startswith("image.repository=") for word in second)
    assert second[-1] == str(tmp_path / "bundle/chart")


def test_trivy_s_variables_hide_nothing(
    fake_scanner: FakeScanner, path_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where its database lies is the user's to say, what is left out is not; and it tells nobody of the scan."""
    fake_scanner("trivy", _TRIVY_IMAGE)
    script = path_folder / "trivy"
    noted = f"json.dump(dict(os.environ), open({str(tmp_path / 'seen')!r}, 'w'))"
    script.write_text(script.read_text().replace("time.sleep(0)", noted))
    for name in ("IGNORE_UNFIXED", "SKIP_FILES", "CONFIG", "NEW_IN_A_LATER_RELEASE", "CACHE_DIR"):
        monkeypatch.setenv(f"TRIVY_{name}", "x")

    _scanned(_IMAGE, Kind.VULNERABILITIES)

    seen = {name: value for name, value in json.loads((tmp_path / "seen").read_text()).items() if "TRIVY" in name}
    assert {name for name, value in seen.items() if value} == {
        "TRIVY_CACHE_DIR", "TRIVY_DISABLE_TELEMETRY", "TRIVY_SKIP_VERSION_CHECK",
    }  # fmt: skip


def test_hadolint_reads_the_dockerfiles_of_a_folder(fake_scanner: FakeScanner, tmp_path: Path) -> None:
    """Issues name the file within the folder, and the line."""
    folder = tmp_path / "bundle/container"
    folder.mkdir(parents=True)
    (folder / "Dockerfile.cpu").write_text("FROM x\n")
    notes = fake_scanner("hadolint", [{**_HADOLINT[0], "file": str(folder / "Dockerfile.cpu")}])

    (result,) = _scanned(Target(tmp_path / "bundle"), Kind.MISCONFIGURATION)

    assert [(issue.id, issue.level, issue.where) for issue in result.issues] == [
        ("DL3007", Level.MEDIUM, "container/Dockerfile.cpu:1")
    ]
    assert calls_of(notes)[0]["arguments"][-2:] == ["--", str(folder / "Dockerfile.cpu")]


def test_a_chart_needs_trivy(fake_scanner: FakeScanner, tmp_path: Path) -> None:
    """Hadolint alone says nothing about a chart, so the chart counts as not scanned."""
    chart = tmp_path / "bundle/chart"
    chart.mkdir(parents=True)
    (chart / "Chart.yaml").write_text("name: x\n")
    fake_scanner("hadolint", [])

    (result,) = _scanned(Target(tmp_path / "bundle"), Kind.MISCONFIGURATION)

    assert "only it reads charts" in result.not_scanned


@pytest.mark.usefixtures("path_folder")
@pytest.mark.parametrize("kind", [Kind.VULNERABILITIES, Kind.MISCONFIGURATION])
def test_without_a_scanner_nothing_was_scanned(tmp_path: Path, kind: Kind) -> None:
    """No scanner is not the same as no issues."""
    (result,) = _scanned(Target(tmp_path), kind)

    assert "neither is installed" in result.not_scanned


@pytest.mark.parametrize("name", ["trivy", "grype"])
@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ({"text": ""}, "wrote no JSON"),
        ({"text": "{"}, "wrote no JSON"),
        ({"report": []}, "report"),
        ({"report": {}}, "report"),
        ({"report": {"SchemaVersion": 3, "Results": []}}, "report"),
        ({"report": {"SchemaVersion": 2, "Results": [], "descriptor": {}, "matches": None}}, "re"),
        (
            {"report": {"SchemaVersion": 2, "Results": [{"Vulnerabilities": [{}]}], "descriptor": {}, "matches": [{}]}},
            "not understood",
        ),
        ({"report": {}, "status": 1}, "ended with status 1: FATAL: it failed"),
    ],
)
def test_a_scanner_that_fails_has_not_scanned(
    fake_scanner: FakeScanner, name: str, answer: dict[str, Any], said: str
) -> None:
    """Whatever goes wrong is told, and leaves no scan that looks clean."""
    fake_scanner(name, **answer)

    (result,) = _scanned(_IMAGE, Kind.VULNERABILITIES)

    assert said in result.not_scanned
    assert result.issues == ()


def test_an_unknown_level_is_not_understood(fake_scanner: FakeScanner) -> None:
    """A level of a later release must not slip under the threshold."""
    match = _GRYPE["matches"][0]
    row = {**match, "vulnerability": {**match["vulnerability"], "severity": "Catastrophic"}}
    fake_scanner("grype", {**_GRYPE, "matches": [row]})

    (result,) = _scanned(_IMAGE, Kind.VULNERABILITIES)

    assert "not understood" in result.not_scanned


def test_a_scanner_that_recognises_nothing_has_not_scanned(fake_scanner: FakeScanner) -> None:
    """An image in which no package was recognised is not an image without vulnerabilities."""
    fake_scanner("trivy", {"SchemaVersion": 2, "ArtifactName": "x"})

    (result,) = _scanned(_IMAGE, Kind.VULNERABILITIES)

    assert "recognised no packages" in result.not_scanned


@pytest.mark.parametrize("packages", [(), ("file", "operating-system")])
def test_grype_must_have_looked_at_packages(fake_scanner: FakeScanner, packages: tuple[str, ...]) -> None:
    """Its own report is as empty for a target without packages as for a clean one."""
    fake_scanner("grype", {**_GRYPE, "matches": []}, packages=packages)

    (result,) = _scanned(_IMAGE, Kind.VULNERABILITIES)

    assert "recognised no packages" in result.not_scanned


def test_a_scanner_that_does_not_end_is_ended(fake_scanner: FakeScanner) -> None:
    """It is given its time, and no more."""
    fake_scanner("trivy", _TRIVY_IMAGE, sleep_s=600)

    (result,) = _scanned(_IMAGE, Kind.VULNERABILITIES, timeout_s=0.5)

    assert "did not end within 0.5 seconds" in result.not_scanned


def test_every_scanner_that_is_installed_scans(fake_scanner: FakeScanner) -> None:
    """Two scanners know more than one, and the failure of one of them is not made good by the other."""
    fake_scanner("trivy", _TRIVY_IMAGE)
    fake_scanner("grype", text="no")

    trivy, grype = _scanned(_IMAGE, Kind.VULNERABILITIES)

    assert (trivy.not_scanned, len(trivy.issues)) == ("", 2)
    assert grype.not_scanned
