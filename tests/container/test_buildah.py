"""The same image by buildah, which needs no daemon; a Docker engine starts it."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
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


@pytest.mark.usefixtures("buildah_store")
def test_buildah_builds_an_image_that_proves_itself(with_docker: DockerEngine, digits: Path, build: Build) -> None:
    """Built without a daemon, proven by a Docker engine that was given a copy, which goes with the proof."""
    record = build(digits, "localhost/digits:buildah", builder="buildah")
    assert record.measured is not None
    assert record.measured.requests == 2
    assert 10e6 < record.image.size_bytes < 400e6
    assert "localhost/digits" in buildah("images")
    assert not with_docker.containers()
    assert "nimify-proof" not in with_docker.run("images")
