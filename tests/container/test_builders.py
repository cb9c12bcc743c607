"""What every builder promises, by each: docker, buildah and podman, on a base of a real registry, and with a push."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import shutil
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from tests.container.conftest import CANARY, ROOT, DockerEngine
from tests.container.engines import Engine, Registry, own_store

from nimify.artifacts.bundle import Bundle
from nimify.artifacts.manifest import MANIFEST_FILE
from nimify.core.nimifier import Nimifier
from nimify.errors import EnvironmentProblem
from nimify.images.build import BuildOptions, build_image
from nimify.images.buildah import BuildahBuilder
from nimify.images.builders import choose
from nimify.images.image import ImageRef
from nimify.images.proof import prove
from nimify.images.record import BuildRecord
from nimify.images.reference import ImageName
from nimify.images.runtime import Confinement

pytestmark = pytest.mark.container


@dataclass(frozen=True)
class Built:
    """What one builder made of the example.

    Attributes:
        engine: The builder.
        bundle: Of the example; its record is that of the build.
        record: Of a build that was proven and pushed.
    """

    engine: Engine
    bundle: Path
    record: BuildRecord


def build(engine: Engine, bundle: Path, tag: str, base: str, *, proof: bool = True, push: bool = False) -> BuildRecord:
    with engine.chosen():
        asked = BuildOptions(tag=tag, builder=engine.name, base=base, network="host", proof=proof, push=push)
        return build_image(Bundle.open(bundle), asked, lambda _: None)


@pytest.fixture(scope="module", params=["docker", "buildah", "podman"])
def engine(
    request: pytest.FixtureRequest, docker: DockerEngine, registry: Registry, closed_registry: Registry
) -> Iterator[Engine]:
    """A builder; buildah and podman have nothing in store yet."""
    if request.param == "docker":
        yield Engine("docker", {"DOCKER_HOST": docker.host})
        return
    folder = Path("/var/tmp") / f"nimify-{request.param}-{os.getpid()}"
    with own_store(request.param, folder, registry, closed_registry) as engine:
        yield engine


@pytest.fixture(scope="module")
def built(
    engine: Engine, registry: Registry, registry_base: str, digits: Path, tmp_path_factory: pytest.TempPathFactory
) -> Built:
    """The example, built on a base of the registry and pushed there."""
    bundle = shutil.copytree(digits, tmp_path_factory.mktemp(engine.name) / "digits")
    return Built(engine, bundle, build(engine, bundle, f"{registry.host}/{engine.name}:1.0", registry_base, push=True))


def test_an_image_proves_itself(built: Built) -> None:
    """It answered every golden request as a user that it does not know; no container is left."""
    measured = built.record.measured
    assert measured is not None
    assert measured.requests == 2
    assert int(measured.user.partition(":")[0]) >= 100_000
    assert built.record.builder.startswith(f"{built.engine.name} ")
    assert 10e6 < built.record.image.size_bytes < 400e6
    starter = "podman" if built.engine.name == "buildah" else built.engine.name
    assert Engine(starter, built.engine.environment).run("ps", "--all", "--quiet") == ""


@pytest.mark.parametrize("engine", ["buildah"], indirect=True)
def test_docker_proves_what_buildah_built_where_there_is_no_podman(
    built: Built, docker: DockerEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine is given a copy, which goes with the proof."""
    for name in ("buildah", "docker"):
        (tmp_path / name).symlink_to(f"/usr/bin/{name}")
    for name, value in {**built.engine.environment, "DOCKER_HOST": docker.host, "PATH": str(tmp_path)}.items():
        monkeypatch.setenv(name, value)
    runtime = BuildahBuilder().runtime(built.record.image)
    room = Confinement(memory_bytes=512 << 20, tmp_bytes=16 << 20, cache_bytes=1 << 20)
    try:
        assert prove(runtime, Bundle.open(built.bundle), room, ready_s=120, tell=lambda _: None).requests == 2
    finally:
        runtime.close()
    assert runtime.program.name == "docker"
    assert not docker.containers()
    assert "nimify-proof" not in docker.run("images")


def test_its_base_is_pinned_by_the_digest_of_the_registry(built: Built, registry: Registry) -> None:
    """The name that is built on holds the digest; there is nothing to warn of."""
    digest = registry.digest("nimify-base", "bookworm")
    assert built.record.base.name == f"{registry.host}/nimify-base@{digest}"
    assert built.record.base.digest == digest
    assert built.record.findings == ()


def test_the_digest_on_record_is_the_registry_s(built: Built, registry: Registry) -> None:
    """build.json names the manifest that was pushed, and that holds the image that was proven, layer by layer."""
    record = json.loads((built.bundle / "build.json").read_bytes())
    digest, manifest = registry.manifest(built.engine.name, "1.0")
    assert record["pushed"] is True
    assert record["image"]["digest"] == digest
    assert manifest["config"]["digest"] == built.record.image.id
    assert len(manifest["layers"]) == len(built.record.image.layers)
    assert registry.manifest(built.engine.name, digest)[1] == manifest


def test_no_layer_holds_a_secret(built: Built, tmp_path: Path) -> None:
    """What pip was told on this machine is nowhere in the saved image; what must be there is found the same way."""
    archive = tmp_path / "image.tar"
    built.engine.save(built.record.image.id, archive)
    words = {CANARY.encode(): False, b"nimify.serving": False}
    layers = 0
    for content in members(archive):
        layers += 1
        words = {word: found or word in content for word, found in words.items()}
    assert words == {CANARY.encode(): False, b"nimify.serving": True}
    assert layers > len(built.record.image.layers)


def test_a_base_of_one_s_own_is_pinned_once_it_is_in_a_registry(
    engine: Engine, registry: Registry, tmp_path: Path
) -> None:
    """Made here, nothing but its id pins it; pushed, as the finding says, the registry's digest does."""
    archive = one_file(tmp_path)
    ours = ImageName.parse("localhost/own-base:1", field="--base")
    theirs = ImageName.parse(f"{registry.host}/own-base-{engine.name}:1", field="--base")
    engine.import_files(archive, str(ours))
    with engine.chosen():
        builder, _ = choose(engine.name)
        found = builder.find_base(ours, platform="")
        assert [finding.code for finding in found.findings] == ["base.not-pinned"]
        image = ImageRef("", found.id)
        builder.tag(image, theirs)
        builder.push(image, theirs)

        in_registry = builder.find_base(theirs, platform="")
        still_ours = builder.find_base(ours, platform="")

    digest = registry.digest(f"own-base-{engine.name}", "1")
    assert (in_registry.name, in_registry.digest) == (str(theirs.pinned(digest)), digest)
    assert in_registry.findings == ()
    assert [finding.code for finding in still_ours.findings] == ["base.not-pinned"]


def test_a_registry_that_wants_a_login_is_told_as_that(
    engine: Engine, closed_registry: Registry, tmp_path: Path
) -> None:
    """The remedy is the login, and the image stays."""
    engine.import_files(one_file(tmp_path), "localhost/login:1")
    name = ImageName.parse(f"{closed_registry.host}/login:1", field="--tag")
    with engine.chosen():
        builder, _ = choose(engine.name)
        image = ImageRef("", builder.find_base(ImageName.parse("localhost/login:1", field="--base"), platform="").id)
        builder.tag(image, name)
        with pytest.raises(EnvironmentProblem, match="does not take") as raised:
            builder.push(image, name)
    assert "Log in" in raised.value.remedy
    assert closed_registry.host in engine.run("images")


def one_file(folder: Path) -> Path:
    """An archive with one file in it."""
    archive = folder / "files.tar"
    with tarfile.open(archive, "w") as files:
        files.addfile(tarfile.TarInfo("empty"))
    return archive


def members(archive: Path) -> Iterator[bytes]:
    """The content of every file in an archive: configuration, manifest and layers, unpacked."""
    with tarfile.open(archive) as saved:
        for member in saved:
            stream = saved.extractfile(member) if member.isfile() else None
            content = stream.read() if stream is not None else b""
            yield gzip.GzipFile(fileobj=io.BytesIO(content)).read() if content[:2] == b"\x1f\x8b" else content


def test_a_second_build_gives_the_same_image(built: Built, registry_base: str, tmp_path: Path) -> None:
    """The same bundle and base, the same id and layers."""
    bundle = shutil.copytree(built.bundle, tmp_path / "digits")
    again = build(built.engine, bundle, "localhost/digits:again", registry_base, proof=False)
    assert again.image.id == built.record.image.id
    assert again.image.layers == built.record.image.layers
    assert [finding.code for finding in again.findings] == ["image.not-proven"]


def test_other_weights_make_the_layers_of_the_model_and_the_service_anew(
    built: Built, registry: Registry, registry_base: str, tmp_path: Path
) -> None:
    """With one weight changed, packages and nimify stay; the service's few files name the new digest."""
    model = onnx.load(ROOT / "examples/digits/digits.onnx")
    weights = model.graph.initializer[0]
    changed = numpy_helper.to_array(weights).copy()
    changed.flat[0] += np.asarray(0.5, changed.dtype)
    weights.CopyFrom(numpy_helper.from_array(changed, weights.name))
    onnx.save(model, tmp_path / "digits.onnx")
    Nimifier().create(tmp_path / "digits.onnx", tmp_path / "bundle")

    tag = f"{registry.host}/{built.engine.name}:other"
    other = build(built.engine, tmp_path / "bundle", tag, registry_base, proof=False, push=True).image

    assert other.layers[:-2] == built.record.image.layers[:-2]
    assert other.layers[-1] != built.record.image.layers[-1]
    before, after = (registry.manifest(built.engine.name, tag)[1]["layers"] for tag in ("1.0", "other"))
    assert after[:-2] == before[:-2]
    model_bytes = (ROOT / "examples/digits/digits.onnx").stat().st_size
    assert sum(layer["size"] for layer in after[-2:]) < 2 * model_bytes + 100_000


def test_other_files_of_the_service_leave_the_weights_alone(built: Built, registry_base: str, tmp_path: Path) -> None:
    """Whatever changes before it, the layer of the weights is the same, so no registry is sent it again."""
    shutil.copytree(built.bundle, tmp_path / "bundle")
    rewrite(tmp_path / "bundle", "openapi.json", (built.bundle / "openapi.json").read_bytes() + b"\n")
    other = build(built.engine, tmp_path / "bundle", "localhost/digits:spec", registry_base, proof=False).image
    assert other.layers[-2] != built.record.image.layers[-2]
    assert other.layers[-1] == built.record.image.layers[-1]


def rewrite(bundle: Path, path: str, content: bytes) -> None:
    """Change a generated file as nimify itself would, manifest included."""
    manifest = json.loads((bundle / MANIFEST_FILE).read_bytes())
    manifest["files"][path] = {"sha256": hashlib.sha256(content).hexdigest(), "size_bytes": len(content)}
    (bundle / path).write_bytes(content)
    (bundle / MANIFEST_FILE).write_text(json.dumps(manifest))
