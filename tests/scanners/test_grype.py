"""`nimify scan` with the real grype, and a database that holds made-up vulnerabilities of packages that images have."""

from __future__ import annotations

import datetime
import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.scanners.conftest import only_scanner
from tests.scanners.grype_database import write_database
from tests.scanners.vulnerability import Vulnerability, check_all_found, of_a_bundle

from nimify.cli import main
from nimify.scanning.scan import Kind, Scan, Target
from nimify.scanning.scanning import scan

pytestmark = pytest.mark.scanners

SOME = of_a_bundle(least="negligible")


@pytest.fixture
def grype(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Its path; it is the only scanner here, asks nobody for a database, and has none."""
    monkeypatch.setenv("GRYPE_DB_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("GRYPE_DB_AUTO_UPDATE", "false")
    monkeypatch.setenv("GRYPE_CHECK_FOR_APP_UPDATE", "false")
    return only_scanner("grype", tmp_path / "bin", monkeypatch)


@pytest.fixture
def knowing(grype: str, tmp_path: Path) -> Callable[..., None]:
    """Give it a database."""

    def give(*vulnerabilities: Vulnerability, age: datetime.timedelta = datetime.timedelta()) -> None:
        database = tmp_path / "vulnerability.db"
        write_database(database, vulnerabilities, made=datetime.datetime.now(datetime.UTC) - age)
        subprocess.run([grype, "db", "import", str(database)], capture_output=True, timeout=120, check=True)

    return give


def scanned(path: Path) -> Scan:
    (result,) = scan(Target(path), (Kind.VULNERABILITIES,), timeout_s=120)
    return result


def test_the_packages_of_a_bundle_are_found_out(knowing: Callable[..., None], make_bundle: Callable[..., Path]) -> None:
    """Each with its level, the installed version and what mends it; a version that has it no more is no issue."""
    knowing(*SOME)

    check_all_found(scanned(make_bundle("tiny")))


def test_the_user_s_environment_hides_nothing(
    knowing: Callable[..., None], make_bundle: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What grype is told there to leave out, or to fail for, is the gate's to decide."""
    knowing(*SOME)
    (tmp_path / "settings.yaml").write_text("ignore: [{vulnerability: GHSA-aaaa-aaaa-aaaa}]\n")
    for name, value in (
        ("ONLY_FIXED", "true"),
        ("FAIL_ON_SEVERITY", "low"),
        ("IGNORE_WONTFIX", "true"),
        ("EXCLUDE", "**/requirements.txt"),
        ("CONFIG", str(tmp_path / "settings.yaml")),
    ):
        monkeypatch.setenv(f"GRYPE_{name}", value)

    result = scanned(make_bundle("tiny"))

    assert result.not_scanned == ""
    assert {issue.id for issue in result.issues} == {vulnerability.id for vulnerability in SOME[:4]}


def test_nothing_recognised_is_not_scanned(knowing: Callable[..., None], tmp_path: Path) -> None:
    """To grype a folder without packages is as clean as any."""
    knowing(*SOME)
    (tmp_path / "empty").mkdir()

    assert scanned(tmp_path / "empty").not_scanned == "grype recognised no packages in it"


def test_a_clean_bundle_is_clean(knowing: Callable[..., None], make_bundle: Callable[..., Path]) -> None:
    """Packages that were looked at, and nothing known against them."""
    knowing()

    result = scanned(make_bundle("tiny"))

    assert (result.not_scanned, result.issues) == ("", ())


def test_without_a_database_nothing_is_scanned(grype: str, make_bundle: Callable[..., Path]) -> None:
    """Its own words are the reason."""
    assert "database does not exist" in scanned(make_bundle("tiny")).not_scanned


def test_an_old_database_does_not_count(knowing: Callable[..., None], make_bundle: Callable[..., Path]) -> None:
    """What came out since is not in it."""
    knowing(*SOME, age=datetime.timedelta(days=30))

    assert "was built" in scanned(make_bundle("tiny")).not_scanned


def test_the_gate_counts_what_grype_found(
    knowing: Callable[..., None],
    make_bundle: Callable[..., Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """`nimify scan` fails for the grave ones, and passes when each is accepted with a reason and a day."""
    knowing(*SOME)
    command = ["scan", str(make_bundle("tiny")), "--only", "vulnerabilities", "--json"]
    assert main(command) == 1
    failing = {issue["id"] for issue in json.loads(capsys.readouterr().out)["failing"]}
    assert failing == {"GHSA-aaaa-aaaa-aaaa", "GHSA-dddd-dddd-dddd"}

    accepted = tmp_path / "accepted.yaml"
    accepted.write_text(
        "ignore:\n" + "".join(f"  - {{id: {name}, reason: made up, expires: 2999-12-31}}\n" for name in sorted(failing))
    )

    assert main([*command, "--ignore-file", str(accepted)]) == 0
