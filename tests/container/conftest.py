"""A real Docker engine of our own, a base image made on this machine, and bundles to build from.

Nothing here is skipped: where the engine cannot be had, these tests fail (make test-container installs it).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.container.engines import Registry, running_registry

from nimify.core.nimifier import Nimifier
from nimify.images.build import BuildOptions, build_image
from nimify.images.record import BuildRecord
from nimify.images.runtime import PROBE, Trial
from nimify.images.wheel import installed_wheel
from nimify.programs import ProgramFailed

ROOT = Path(__file__).parents[2]
BASE_ARCHIVE = ROOT / ".tools/base/bookworm.tar"
BASE = "localhost/nimify-base:bookworm"
START_S = 60.0
CANARY = "canary-7d1f0c5e.invalid"
"""Part of this machine's pip settings in every build; must be in no image."""


@dataclass(frozen=True)
class DockerEngine:
    """A dockerd that listens on a socket of its own."""

    host: str
    log: Path

    def run(self, *arguments: str, stdin: Path | None = None) -> str:
        """Run the docker command against it; its output."""
        with (stdin or Path(os.devnull)).open("rb") as stream:
            done = subprocess.run(
                ["/usr/bin/docker", *arguments],
                stdin=stream,
                capture_output=True,
                env={**os.environ, "DOCKER_HOST": self.host},
                check=False,
            )
        assert done.returncode == 0, done.stderr.decode(errors="replace")
        return done.stdout.decode(errors="replace")

    def containers(self) -> list[str]:
        """The containers of every state, by name."""
        return self.run("ps", "--all", "--format", "{{.Names}}").split()


@pytest.fixture(scope="session")
def base_archive() -> Path:
    """The files of the base image; made once, from Debian's packages."""
    made = subprocess.run(
        [sys.executable, "tools/container_engine.py", "base", str(BASE_ARCHIVE)], cwd=ROOT, check=False
    )
    assert made.returncode == 0
    return BASE_ARCHIVE


@pytest.fixture(scope="session")
def docker(tmp_path_factory: pytest.TempPathFactory, base_archive: Path) -> Iterator[DockerEngine]:
    """A Docker engine with the base image in it; ended, and its files removed, with the session."""
    # Not below pytest's folder: a socket's path may have 107 characters, and pytest keeps the last three sessions.
    folder = Path("/var/tmp") / f"nimify-docker-{os.getpid()}"
    folder.mkdir(mode=0o700)
    log = folder / "log"
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [
                "/usr/sbin/dockerd",
                f"--data-root={folder / 'data'}",
                f"--exec-root={folder / 'run'}",
                f"--pidfile={folder / 'pid'}",
                f"--host=unix://{folder / 'socket'}",
                # No network of its own: it would change the machine's. Builds use the host's, proofs have none.
                "--bridge=none",
                "--iptables=false",
                "--ip-masq=false",
                "--ip-forward=false",
            ],
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
        )
    engine = DockerEngine(f"unix://{folder / 'socket'}", log)
    try:
        _await(engine, process)
        engine.run("import", "-", BASE, stdin=base_archive)
        yield engine
    finally:
        _end(engine, process)
        shutil.rmtree(folder, ignore_errors=True)


def _await(engine: DockerEngine, process: subprocess.Popen[bytes]) -> None:
    deadline_s = time.monotonic() + START_S
    while time.monotonic() < deadline_s:
        with suppress(AssertionError):
            engine.run("version")
            return
        assert process.poll() is None, engine.log.read_text()
        time.sleep(0.1)
    raise AssertionError(engine.log.read_text())


def _end(engine: DockerEngine, process: subprocess.Popen[bytes]) -> None:
    with suppress(AssertionError):
        for name in engine.containers():
            engine.run("rm", "--force", name)
    process.terminate()
    try:
        process.wait(START_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@pytest.fixture(scope="session", autouse=True)
def one_nimify() -> Iterator[None]:
    """The nimify of the beginning in every image, whatever is edited in the checkout meanwhile."""
    wheel = installed_wheel()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("nimify.images.build.installed_wheel", lambda: wheel)
        yield


@pytest.fixture(scope="session", autouse=True)
def canary() -> Iterator[None]:
    """What builds are told of this machine holds a word that is found again."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PIP_TRUSTED_HOST", CANARY)
        yield


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """A real registry."""
    with running_registry(tmp_path_factory.mktemp("registry")) as registry:
        yield registry


@pytest.fixture(scope="session")
def closed_registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """A registry that wants a login."""
    folder = tmp_path_factory.mktemp("closed-registry")
    with running_registry(folder, f"auth:\n  htpasswd:\n    realm: tests\n    path: {folder}/htpasswd\n") as registry:
        yield registry


@pytest.fixture(scope="session")
def registry_base(docker: DockerEngine, registry: Registry) -> str:
    """The name of the base image in the registry."""
    name = f"{registry.host}/nimify-base:bookworm"
    docker.run("tag", BASE, name)
    docker.run("push", name)
    # Whoever builds on it fetches it.
    docker.run("rmi", name)
    return name


@pytest.fixture
def with_docker(docker: DockerEngine, monkeypatch: pytest.MonkeyPatch) -> DockerEngine:
    """This test's builds go to our engine, by the client of its release."""
    monkeypatch.setenv("DOCKER_HOST", docker.host)
    monkeypatch.setenv("PATH", f"/usr/bin:{os.environ['PATH']}")
    return docker


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle of the example; tests that change it take a copy."""
    folder = tmp_path_factory.mktemp("bundle") / "digits"
    Nimifier().create(ROOT / "examples/digits/digits.onnx", folder)
    return folder


Build = Callable[..., BuildRecord]


@pytest.fixture
def build() -> Build:
    """Build the image of a bundle from our base."""

    def run(bundle: Path, tag: str, **options: object) -> BuildRecord:
        from nimify.artifacts.bundle import Bundle

        asked = {"builder": "docker", "base": BASE, "network": "host", **options}
        return build_image(Bundle.open(bundle), BuildOptions(tag=tag, **asked), lambda _: None)  # type: ignore[arg-type]

    return run


def await_ready(trial: Trial) -> None:
    """Wait until the service in a container is ready; fails when it ends, or takes long."""
    deadline_s = time.monotonic() + 2 * START_S
    while time.monotonic() < deadline_s:
        with suppress(ProgramFailed):
            trial.ask(*PROBE)
            return
        assert trial.state().running, trial.log()
        time.sleep(0.2)
    raise AssertionError(trial.log())
