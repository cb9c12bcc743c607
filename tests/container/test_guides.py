"""The commands of the guides that need Docker: a real engine, a real registry, images that prove themselves."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from tests.container.bridged import Docker, bridged_engine
from tests.container.conftest import BASE
from tests.container.engines import Registry
from tests.guides.pages import Page, guides_that_need
from tests.guides.reader import Reader, lay_out
from tests.guides.sandbox import Sandbox

pytestmark = [pytest.mark.container, pytest.mark.timeout(1800)]
REGISTRIES = ("registry.example.com", "europe-docker.pkg.dev")


@pytest.fixture(scope="module")
def bridged(base_archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Docker]:
    """An engine that can publish ports and has the base image."""
    # Not below pytest's folder: a socket's path may have 107 characters.
    folder = Path("/var/tmp") / f"nimify-guides-{os.getpid()}"
    folder.mkdir(mode=0o700)
    with bridged_engine(folder) as engine:
        with base_archive.open("rb") as archive:
            engine("import", "-", BASE, stdin=archive)
        yield engine


@pytest.fixture
def _free_ports() -> None:
    """The ports of the guides, which an engine of this machine publishes on this machine."""
    for port in (8000, 8001):
        with closing(socket.socket()) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                listener.bind(("127.0.0.1", port))
            except OSError as error:
                pytest.fail(f"port {port}, of which the guides speak, is taken on this machine: {error}")


@pytest.mark.usefixtures("_free_ports")
@pytest.mark.parametrize("page", guides_that_need("docker"), ids=lambda page: page.name)
def test_a_guide_works_with_docker(page: Page, bridged: Docker, registry: Registry, tmp_path: Path) -> None:
    """Its images are built and proven, pushed where it says so, deployed, replaced and gone back from."""
    folder = tmp_path / "folder"
    lay_out(folder, *(() if page.name != "build.md" else ("my-model",)))
    instead = dict.fromkeys(REGISTRIES, registry.host)
    # Public images cannot be fetched here, and steps of a build reach the package index through this machine.
    instead |= {
        f"nimify build {name}": f"nimify build {name} --base {BASE} --network host" for name in ("digits", "my-model")
    }
    environment = {"DOCKER_HOST": bridged.socket}
    with Sandbox(network=False) as sandbox:
        # Debian's docker has the BuildKit of its own engine; a newer one beside it may not.
        somebody = Reader(sandbox, folder, {"docker"}, [Path("/usr/bin")], environment, instead)
        try:
            somebody.read(page)
        finally:
            for container in bridged("ps", "--all", "--quiet").split():
                bridged("rm", "--force", container)
    somebody.leave()
    assert [text for text in somebody.typed if text.startswith("nimify build")]
