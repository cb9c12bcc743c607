"""Each builder of images with a place of its own, and a real registry: what the tests of every builder need."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

_MANIFESTS = "application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json"
_START_S = 60.0
_SETTINGS = """version: 0.1
storage:
  filesystem:
    rootdirectory: {folder}/data
http:
  addr: 127.0.0.1:0
"""


@dataclass(frozen=True)
class Registry:
    """A registry that listens on a port of loopback, without TLS.

    Attributes:
        host: Its address, as names of images begin.
    """

    host: str

    def manifest(self, repository: str, reference: str) -> tuple[str, dict[str, Any]]:
        """The digest of a manifest, as the registry says, and the manifest."""
        request = urllib.request.Request(
            f"http://{self.host}/v2/{repository}/manifests/{reference}", headers={"Accept": _MANIFESTS}
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.headers["Docker-Content-Digest"], json.load(answer)

    def digest(self, repository: str, tag: str) -> str:
        """The digest under which the registry has a tag."""
        return self.manifest(repository, tag)[0]


@contextmanager
def running_registry(folder: Path, extra: str = "") -> Iterator[Registry]:
    """A registry that keeps its images in a folder.

    Args:
        folder: Where.
        extra: More of its settings.
    """
    settings, log = folder / "registry.yml", folder / "registry.log"
    settings.write_text(_SETTINGS.format(folder=folder) + extra)
    with log.open("wb") as stream:
        process = subprocess.Popen(
            ["/usr/bin/docker-registry", "serve", str(settings)],
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
        )
    try:
        yield Registry(_address(process, log))
    finally:
        process.terminate()
        process.wait(_START_S)


def _address(process: subprocess.Popen[bytes], log: Path) -> str:
    deadline_s = time.monotonic() + _START_S
    while time.monotonic() < deadline_s:
        if match := re.search(r"listening on (127\.0\.0\.1:\d+)", log.read_text()):
            return match[1]
        assert process.poll() is None, log.read_text()
        time.sleep(0.05)
    raise AssertionError(log.read_text())


@dataclass(frozen=True)
class Engine:
    """A builder as its user finds it.

    Attributes:
        name: As `nimify build --builder` takes it.
        environment: Where it works.
    """

    name: str
    environment: Mapping[str, str] = field(default_factory=dict)

    def run(self, *arguments: str) -> str:
        """Run its command; its output."""
        done = subprocess.run(
            [f"/usr/bin/{self.name}", *arguments],
            capture_output=True,
            text=True,
            env={**os.environ, **self.environment},
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def save(self, image: str, archive: Path) -> None:
        """Write an image into an archive in Docker's format."""
        if self.name == "buildah":
            self.run("push", "--quiet", image, f"docker-archive:{archive}")
        else:
            self.run("save", f"--output={archive}", image)

    def import_files(self, archive: Path, name: str) -> None:
        """Make an image of its own of the files in an archive."""
        if self.name == "buildah":
            self.run("from", "--name=imported", "scratch")
            self.run("add", "imported", str(archive), "/")
            self.run("commit", "--rm", "imported", name)
        else:
            self.run("import", str(archive), name)

    @contextmanager
    def chosen(self) -> Iterator[None]:
        """Builds of this process go to it."""
        with pytest.MonkeyPatch.context() as patch:
            for name, value in self.environment.items():
                patch.setenv(name, value)
            # Debian's own docker command before another that may be here.
            patch.setenv("PATH", f"/usr/bin:{os.environ['PATH']}")
            yield


@contextmanager
def own_store(name: str, folder: Path, *registries: Registry) -> Iterator[Engine]:
    """A builder without a daemon, with a store of its own that goes with the tests.

    Args:
        name: Of the program: buildah or podman.
        folder: Where the store is; not deep, because sockets lie in it.
        registries: Those that it may speak to without TLS.
    """
    folder.mkdir(mode=0o700)
    store, known = folder / "storage.conf", folder / "registries.conf"
    store.write_text(f'[storage]\ndriver = "overlay"\ngraphroot = "{folder}/graph"\nrunroot = "{folder}/run"\n')
    known.write_text(
        "".join(f'[[registry]]\nlocation = "{registry.host}"\ninsecure = true\n' for registry in registries)
    )
    engine = Engine(name, {"CONTAINERS_STORAGE_CONF": str(store), "CONTAINERS_REGISTRIES_CONF": str(known)})
    try:
        yield engine
    finally:
        for program in ("buildah", "podman"):
            with suppress(AssertionError):
                Engine(program, engine.environment).run("rm", "--all", *(["--force"] if program == "podman" else []))
        shutil.rmtree(folder, ignore_errors=True)
