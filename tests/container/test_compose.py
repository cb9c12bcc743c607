"""compose.yaml, run by the real Docker Compose: the service in it answers, and Prometheus beside it sees it.

The file is taken as it was generated, but for the ports on this machine, which may be another's. Prometheus is that of
Debian under the name of the image that is asked for; there is no Grafana where these tests run.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.container.bridged import Docker, bridged_engine, tool
from tests.container.conftest import BASE, ROOT, DockerEngine
from tests.container.engines import Engine, Registry
from tests.scanners.conftest import program

from nimify.artifacts.bundle import Bundle
from nimify.artifacts.compose import PROMETHEUS_IMAGE
from nimify.cli import main
from nimify.config import ModelConfig
from nimify.conformance.offline import chosen_checks, validate_bundle
from nimify.conformance.report import Status
from nimify.core.nimifier import Nimifier
from nimify.images.build import BuildOptions, build_image

pytestmark = [pytest.mark.scanners, pytest.mark.timeout(1800)]

PROMETHEUS = Path("/usr/bin/prometheus")
WAIT_S = 300
ANY_PORTS = """services:
  service:
    ports: !override ["127.0.0.1::8000", "127.0.0.1::8001"]
  prometheus:
    ports: !override ["127.0.0.1::9090"]
"""


@pytest.fixture(scope="module", autouse=True)
def plugins(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Docker with Compose as its plugin, and with nothing of this user's settings."""
    settings = tmp_path_factory.mktemp("docker-settings")
    (settings / "cli-plugins").mkdir()
    (settings / "cli-plugins/docker-compose").symlink_to(program("docker-compose"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DOCKER_CONFIG", str(settings))
        yield


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("composed") / "digits"
    Nimifier(ModelConfig.build({"with": ["compose"]})).create(ROOT / "examples/digits/digits.onnx", folder)
    return folder


@pytest.fixture(scope="module")
def image(docker: DockerEngine, registry: Registry, bundle: Path) -> str:
    """The name of the service's image in a registry."""
    with Engine("docker", {"DOCKER_HOST": docker.host}).chosen():
        tag = f"{registry.host}/team/composed:1.0"
        asked = BuildOptions(tag=tag, builder="docker", base=BASE, network="host", push=True, proof=False)
        return build_image(Bundle.open(bundle), asked, lambda _: None).image.name


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Docker]:
    with bridged_engine(tmp_path_factory.mktemp("bridged")) as bridged:
        yield bridged


@pytest.fixture(scope="module")
def prometheus(engine: Docker, base_archive: Path) -> None:
    """An image of Prometheus, under the name that compose.yaml asks for."""
    assert PROMETHEUS.is_file(), "Debian's prometheus is not installed"
    with base_archive.open("rb") as stream:
        engine("import", "-", BASE, stdin=stream)
    engine("create", "--name=prometheus-image", BASE, "true")
    engine("cp", str(PROMETHEUS), "prometheus-image:/bin/prometheus")
    changes = ('ENTRYPOINT ["/bin/prometheus"]', "USER 65534:65534", "CMD []")
    engine("commit", *(f"--change={change}" for change in changes), "prometheus-image", PROMETHEUS_IMAGE)
    engine("rm", "prometheus-image")


@dataclass(frozen=True)
class Project:
    """A bundle's compose.yaml as its user has it."""

    folder: Path
    engine: Docker
    image: str

    def __call__(self, *arguments: str) -> str:
        """`docker compose ...`; its output."""
        files = ("--file", str(self.folder / "compose.yaml"), "--file", str(self.folder / "ports.yaml"))
        done = subprocess.run(
            [tool("docker"), "compose", *files, *arguments],
            env={**os.environ, "DOCKER_HOST": self.engine.socket, "IMAGE": self.image},
            capture_output=True,
            text=True,
            timeout=2 * WAIT_S,
            check=False,
        )
        assert done.returncode == 0, f"{done.stderr}\n{done.stdout}"
        return done.stdout.strip()

    def url(self, service: str, port: int) -> str:
        """Where a service answers on this machine."""
        return f"http://{self('port', service, str(port))}"

    @contextmanager
    def up(self, *services: str) -> Iterator[None]:
        """Let some services run until they are healthy; none of it is left."""
        try:
            self("--profile", "monitoring", "up", "--detach", "--wait", f"--wait-timeout={WAIT_S}", *services)
            yield
        finally:
            self("--profile", "monitoring", "down", "--volumes", "--timeout=60")
        assert self.engine("ps", "--all", "--quiet") == ""
        assert "digits" not in self.engine("network", "ls", "--format={{.Name}}")


@pytest.fixture
def project(engine: Docker, image: str, bundle: Path, tmp_path: Path) -> Project:
    folder = shutil.copytree(bundle, tmp_path / "digits")
    (folder / "ports.yaml").write_text(ANY_PORTS)
    return Project(folder, engine, image)


def test_docker_compose_takes_it(bundle: Path, tmp_path: Path) -> None:
    """`nimify validate` asks it; a key that it does not know is refused."""
    (result,) = validate_bundle(bundle, checks=chosen_checks(["compose"])).results
    assert (result.status, result.message) == (Status.PASSED, "docker compose takes compose.yaml.")

    broken = shutil.copytree(bundle, tmp_path / "broken")
    with (broken / "compose.yaml").open("a") as stream:
        stream.write("no_such_key: 1\n")
    (result,) = validate_bundle(broken, checks=chosen_checks(["compose"])).results
    assert (result.status, "no_such_key" in result.message) == (Status.FAILED, True)


def test_the_service_answers_as_it_should(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    """It becomes healthy with no more rights than it needs, keeps its contract, and goes without a trace."""
    with project.up("service"):
        (container,) = json.loads(project.engine("inspect", project("ps", "--quiet", "service")))
        code = main(["validate", str(project.folder), "--url", project.url("service", 8000)])
        said = capsys.readouterr().out

    assert code == 0, said
    host = container["HostConfig"]
    assert container["State"]["Health"]["Status"] == "healthy"
    assert container["Config"]["User"] == "1000:2000"
    assert (host["ReadonlyRootfs"], host["CapDrop"]) == (True, ["ALL"])
    assert host["SecurityOpt"] == ["no-new-privileges:true"]
    assert host["Memory"] > 0
    assert host["PidsLimit"] > 0


@pytest.mark.usefixtures("prometheus")
def test_prometheus_sees_the_service(project: Project) -> None:
    """The monitoring profile's Prometheus loads the rules, and reads the service's metrics by its name."""
    with project.up("service", "prometheus"):
        address = project.url("prometheus", 9090)
        target = eventually(lambda: scraped(address))
        groups = asked(address, "/api/v1/rules")["groups"]

    assert target["labels"]["job"]
    assert target["scrapeUrl"].startswith("http://service:8000/")
    assert sum(len(group["rules"]) for group in groups) > 0
    assert [rule for group in groups for rule in group["rules"] if rule["health"] == "err"] == []


def scraped(address: str) -> dict[str, Any] | None:
    """The service as Prometheus has seen it, once it has."""
    targets = asked(address, "/api/v1/targets")["activeTargets"]
    found: dict[str, Any] | None = next((target for target in targets if target["health"] == "up"), None)
    return found


def asked(address: str, path: str) -> Any:
    with urllib.request.urlopen(address + path, timeout=60) as answer:
        return json.load(answer)["data"]


def eventually(look: Callable[[], dict[str, Any] | None]) -> dict[str, Any]:
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        try:
            if (found := look()) is not None:
                return found
        except OSError:
            pass  # it has only just begun
        time.sleep(0.5)
    raise AssertionError("Prometheus has not read the service's metrics")
