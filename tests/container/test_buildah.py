"""The same image by buildah, which needs no daemon; podman starts it, or a Docker engine."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.container.conftest import BASE, Build, DockerEngine

pytestmark = pytest.mark.container


@pytest.fixture
def buildah_store(base_archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A store of its own with the base in it, and an isolation that needs no runtime of containers."""
    folder = tmp_path / "store"
    settings = tmp_path / "storage.conf"
    settings.write_text(f'[storage]\ndriver = "overlay"\ngraphroot = "{folder}/graph"\nrunroot = "{folder}/run"\n')
    monkeypatch.setenv("CONTAINERS_STORAGE_CONF", str(settings))
    monkeypatch.setenv("BUILDAH_ISOLATION", "chroot")
    buildah("from", "--name=base", "scratch")
    buildah("add", "base", str(base_archive), "/")
    buildah("commit", "--rm", "base", BASE)
    yield
    buildah("rm", "--all")
    buildah("rmi", "--all", "--force")
    shutil.rmtree(folder, ignore_errors=True)


def buildah(*arguments: str) -> str:
    done = subprocess.run(["/usr/bin/buildah", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Let some programs be all that can be found."""

    def leave(*programs: str) -> None:
        folder = tmp_path / "bin"
        folder.mkdir()
        for program in programs:
            (folder / program).symlink_to(f"/usr/bin/{program}")
        monkeypatch.setenv("PATH", str(folder))

    return leave


@pytest.mark.usefixtures("buildah_store")
def test_buildah_builds_an_image_that_podman_proves(digits: Path, build: Build, only: Callable[..., None]) -> None:
    """Built and proven without a daemon, in the store that both share."""
    only("buildah", "podman")
    record = build(digits, "localhost/digits:buildah", builder="buildah")
    assert record.measured is not None
    assert record.measured.requests == 2
    assert 10e6 < record.image.size_bytes < 400e6
    assert "localhost/digits" in buildah("images")


@pytest.mark.usefixtures("buildah_store")
def test_buildah_has_its_image_proven_by_docker_where_there_is_no_podman(
    with_docker: DockerEngine, digits: Path, build: Build, only: Callable[..., None]
) -> None:
    """The engine is given a copy, which goes with the proof."""
    only("buildah", "docker")
    record = build(digits, "localhost/digits:buildah", builder="buildah")
    assert record.measured is not None
    assert record.measured.requests == 2
    assert not with_docker.containers()
    assert "nimify-proof" not in with_docker.run("images")
