"""The image of the Triton family, with the real tritonserver in it, started as a cluster would start it.

NVIDIA's base cannot be fetched everywhere. The base here is a Debian that carries the server of the PyPI package
nvidia-pytriton; it has Triton's python backend alone, so the line of config.pbtxt that names the backend is exchanged
(tests/triton/stand_in.py). All else is what `nimify build --family triton` makes of a bundle.
"""

from __future__ import annotations

import hashlib
import json
import tarfile
from pathlib import Path

import pytest
from tests.container.conftest import BASE, Build, DockerEngine, await_ready
from tests.triton.stand_in import ENVIRONMENT, PROGRAM, exchange_backend

from nimify.artifacts.manifest import MANIFEST_FILE
from nimify.config import ModelConfig
from nimify.core.nimifier import Nimifier
from nimify.images.docker import DockerBuilder
from nimify.images.runtime import Confinement

pytestmark = pytest.mark.container

TRITON_BASE = "localhost/nimify-triton:stand-in"
_FOLDER = "/opt/tritonserver"
_PACKAGES = ("pytriton/tritonserver", "nvidia_pytriton.libs", "numpy", "numpy.libs", "onnxruntime")
_LIBRARY = Path("/usr/lib/x86_64-linux-gnu/libpython3.11.so.1.0")
_DOCKERFILE = f"""FROM {BASE}
ADD triton.tar /
ENV NIMIFY_TRITON_ENVIRONMENT={_FOLDER}
"""
_PROGRAMS = "from pathlib import Path; print(*(p.read_text().strip() for p in Path('/proc').glob('[0-9]*/comm')))"
"""Prints the names of what runs in a container, which the kernel cuts after 15 characters."""
ROOM = Confinement(memory_bytes=1 << 30, tmp_bytes=16 << 20, cache_bytes=1 << 20, uid=1000, gid=2000)


@pytest.fixture(scope="session")
def triton_base(docker: DockerEngine, tmp_path_factory: pytest.TempPathFactory) -> str:
    """An image with Python and a `tritonserver` command."""
    assert PROGRAM.is_file(), "There is no real tritonserver to test with; make one with: make .tools/triton/.ready"
    folder = tmp_path_factory.mktemp("triton-base")
    (folder / "Dockerfile").write_text(_DOCKERFILE)
    (folder / "tritonserver").write_text(PROGRAM.read_text().replace(str(ENVIRONMENT), _FOLDER))
    (packages,) = ENVIRONMENT.glob("lib/python3.*/site-packages")
    with tarfile.open(folder / "triton.tar", "w") as archive:
        for path in [*(packages / name for name in _PACKAGES), ENVIRONMENT / "backends"]:
            archive.add(path, f"{_FOLDER}/{path.relative_to(ENVIRONMENT)}", filter=_readable)
        archive.add(_LIBRARY, str(_LIBRARY), filter=_readable)
        archive.add(folder / "tritonserver", "/usr/local/bin/tritonserver", filter=_executable)
    docker.run("build", f"--tag={TRITON_BASE}", "--network=none", str(folder))
    return TRITON_BASE


def _readable(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.mode |= 0o555 if member.isdir() or member.mode & 0o100 else 0o444
    member.uid = member.gid = 0
    return member


def _executable(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.mode |= 0o555
    return _readable(member)


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A bundle whose owner asked for Triton, for the backend that the stand-in has."""
    from nimify.testing import models

    models.save(models.ALL["tiny"](), tmp_path / "tiny.onnx")
    config = ModelConfig.build({"name": "tiny", "deployment": {"family": "triton"}})
    Nimifier(config).create(tmp_path / "tiny.onnx", tmp_path / "generated")
    bundle = exchange_backend(tmp_path / "generated", tmp_path)
    manifest = json.loads((bundle / MANIFEST_FILE).read_bytes())
    for path in (bundle / "model_repository").rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            entry = {"sha256": hashlib.sha256(content).hexdigest(), "size_bytes": len(content)}
            manifest["files"][path.relative_to(bundle).as_posix()] = entry
    (bundle / MANIFEST_FILE).write_text(json.dumps(manifest))
    return bundle


def test_the_image_proves_itself_with_the_real_triton(
    with_docker: DockerEngine, triton_base: str, bundle: Path, build: Build
) -> None:
    """As any user, without network, rights or a writable root, the golden requests go through the front to Triton."""
    record = build(bundle, "localhost/tiny:triton", base=triton_base)

    assert record.family == "triton"
    assert record.measured is not None
    assert record.measured.requests > 0
    assert int(record.measured.user.partition(":")[0]) >= 100_000
    trial = DockerBuilder().runtime(record.image).start(ROOM, {})
    try:
        await_ready(trial)
        programs = trial.ask("python3", "-c", _PROGRAMS).split()
    finally:
        trial.remove()
    assert {"tritonserver", "triton_python_b"} <= set(programs)
    assert not with_docker.containers()
