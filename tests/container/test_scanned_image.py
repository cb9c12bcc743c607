"""The real grype and the real trivy on an image that was built of a bundle, with databases that the tests make."""

from __future__ import annotations

import datetime
import json
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.container.conftest import BASE, DockerEngine
from tests.container.engines import Engine
from tests.scanners import grype_database, trivy_database
from tests.scanners.conftest import only_scanner
from tests.scanners.vulnerability import Vulnerability

from nimify.artifacts.bundle import Bundle
from nimify.cli import main
from nimify.images.build import BuildOptions, build_image
from nimify.scanning.scan import Kind, Level, Scan, Target
from nimify.scanning.scanning import scan

pytestmark = [pytest.mark.scanners, pytest.mark.timeout(1800)]

SOME = (
    Vulnerability("GHSA-aaaa-aaaa-aaaa", "numpy", "99.0", "critical"),
    Vulnerability("GHSA-bbbb-bbbb-bbbb", "hpack", "99.0", "medium"),
    Vulnerability("GHSA-eeee-eeee-eeee", "protobuf", "0.1", "critical"),
)
Ready = Callable[[str], None]


@pytest.fixture(scope="module")
def image(docker: DockerEngine, digits: Path) -> str:
    """The name of an image in our engine."""
    with Engine("docker", {"DOCKER_HOST": docker.host}).chosen():
        asked = BuildOptions(tag="localhost/digits:scanned", builder="docker", base=BASE, network="host", proof=False)
        return build_image(Bundle.open(digits), asked, lambda _: None).image.name


@pytest.fixture
def ready(docker: DockerEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ready:
    """Makes one scanner the only one here, with a database; it asks our engine, and nobody else."""

    def make(name: str) -> None:
        now = datetime.datetime.now(datetime.UTC)
        monkeypatch.setenv("DOCKER_HOST", docker.host)
        settings = {
            "GRYPE_DB_CACHE_DIR": str(tmp_path / "grype"),
            "GRYPE_DB_AUTO_UPDATE": "false",
            "GRYPE_CHECK_FOR_APP_UPDATE": "false",
            "TRIVY_CACHE_DIR": str(tmp_path / "trivy"),
            "TRIVY_SKIP_DB_UPDATE": "true",
            "TRIVY_SKIP_JAVA_DB_UPDATE": "true",
        }
        for variable, value in settings.items():
            monkeypatch.setenv(variable, value)
        program = only_scanner(name, tmp_path / "bin", monkeypatch)
        if name == "trivy":
            trivy_database.write_database(tmp_path / "trivy", SOME, made=now)
            return
        grype_database.write_database(tmp_path / "vulnerability.db", SOME, made=now)
        arguments = [program, "db", "import", str(tmp_path / "vulnerability.db")]
        subprocess.run(arguments, capture_output=True, timeout=120, check=True)

    return make


def scanned(image: str) -> Scan:
    (result,) = scan(Target(image=image), (Kind.VULNERABILITIES,), timeout_s=600)
    return result


@pytest.mark.parametrize("name", ["grype", "trivy"])
def test_the_packages_of_an_image_are_found_out(name: str, ready: Ready, image: str, digits: Path) -> None:
    """Those of the service in the image, in the versions that are locked in the bundle; nothing that is mended."""
    ready(name)

    result = scanned(image)

    assert result.not_scanned == ""
    found = {issue.id: issue for issue in result.issues}
    assert {key: issue.level for key, issue in found.items()} == {
        "GHSA-aaaa-aaaa-aaaa": Level.CRITICAL,
        "GHSA-bbbb-bbbb-bbbb": Level.MEDIUM,
    }
    package, version = found["GHSA-aaaa-aaaa-aaaa"].where.split()
    assert package == "numpy"
    assert f"numpy=={version} " in (digits / "container/requirements.txt").read_text()


@pytest.mark.parametrize("name", ["grype", "trivy"])
def test_the_gate_counts_what_is_in_an_image(
    name: str, ready: Ready, image: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`nimify scan IMAGE` fails for the grave one, and passes when it is accepted with a reason and a day."""
    ready(name)
    command = ["scan", image, "--json"]
    assert main(command) == 1
    assert [issue["id"] for issue in json.loads(capsys.readouterr().out)["failing"]] == ["GHSA-aaaa-aaaa-aaaa"]

    accepted = tmp_path / "accepted.yaml"
    accepted.write_text("ignore:\n  - {id: GHSA-aaaa-aaaa-aaaa, reason: made up, expires: 2999-12-31}\n")

    assert main([*command, "--ignore-file", str(accepted)]) == 0


@pytest.mark.parametrize("name", ["grype", "trivy"])
def test_an_image_that_is_nowhere_is_not_scanned(name: str, ready: Ready) -> None:
    """Neither the engine nor a registry has it."""
    ready(name)

    assert scanned("127.0.0.1:1/nowhere:1").not_scanned.startswith(f"{name} ended with status 1: ")


@pytest.mark.parametrize("name", ["grype", "trivy"])
def test_an_image_without_packages_is_not_scanned(
    name: str, ready: Ready, docker: DockerEngine, tmp_path: Path
) -> None:
    """Nothing recognised in it is not the same as nothing found."""
    with tarfile.open(tmp_path / "files.tar", "w") as archive:
        archive.add(__file__, "/a-file")
    docker.run("import", "-", "localhost/empty:1", stdin=tmp_path / "files.tar")
    ready(name)

    assert scanned("localhost/empty:1").not_scanned == f"{name} recognised no packages in it"
