"""The image of a signed bundle, in a real container that is told whose signature it must have."""

from __future__ import annotations

import secrets
import shutil
import subprocess
from pathlib import Path

import pytest
from tests.container.conftest import BASE, Build, DockerEngine, await_ready
from tests.container.engines import Engine

from nimify.artifacts.bundle import Bundle
from nimify.core.signatures import sign_bundle
from nimify.images.build import BuildOptions, build_image
from nimify.images.runtime import Trial, hardened
from nimify.programs import Program
from nimify.signing.keys import PrivateKey, generate_key

pytestmark = [pytest.mark.container, pytest.mark.usefixtures("with_docker")]

KEY = "/etc/nimify/signing.pub"
REFUSED = 4
_FLIP = (
    "import sys; from pathlib import Path; path = Path('/opt/nim/bundle', sys.argv[1]); "
    "content = bytearray(path.read_bytes()); content[-1] ^= 1; path.write_bytes(content)"
)


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a public key lies, beside its private one; readable by any user, as a mounted ConfigMap is."""
    private = tmp_path_factory.mktemp("keys") / "signing.pem"
    generate_key(private)
    private.with_suffix(".pub").chmod(0o644)
    return private.with_suffix(".pub")


@pytest.fixture(scope="module")
def signed(
    docker: DockerEngine, digits: Path, key: Path, one_nimify: None, tmp_path_factory: pytest.TempPathFactory
) -> str:
    """The id of the image of a signed bundle."""
    bundle = shutil.copytree(digits, tmp_path_factory.mktemp("signed") / "digits")
    sign_bundle(bundle, PrivateKey.load(key.with_suffix(".pem")))
    with Engine("docker", {"DOCKER_HOST": docker.host}).chosen():
        asked = BuildOptions(tag="localhost/digits:signed", builder="docker", base=BASE, network="host", proof=False)
        return build_image(Bundle.open(bundle), asked, lambda _: None).image.id


def arguments(image: str, key: Path) -> list[str]:
    """Those of `docker run`: no rights, any user, and the key that the service must check with."""
    return [
        f"--user={100_000 + secrets.randbelow(900_000)}:0",
        "--network=none",
        *hardened(memory_bytes=512 << 20, tmp_bytes=16 << 20, cache_bytes=1 << 20, pids=1024),
        f"--volume={key}:{KEY}:ro",
        f"--env=NIMIFY_VERIFY_KEY={KEY}",
        image,
    ]


def refusal(image: str, key: Path) -> str:
    """What an image says that must not start."""
    command = ["/usr/bin/docker", "run", "--rm", *arguments(image, key)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == REFUSED, done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr


def test_it_starts_with_the_key_of_whoever_signed_it(with_docker: DockerEngine, signed: str, key: Path) -> None:
    """The signature went into the image with what it covers, and all of that is as it was signed."""
    trial = Trial(Program("docker"), f"signed-{secrets.token_hex(6)}")
    try:
        with_docker.run("run", "--detach", f"--name={trial.name}", *arguments(signed, key))
        await_ready(trial)
    finally:
        trial.remove()


def test_it_does_not_start_with_another_key(signed: str, tmp_path: Path) -> None:
    """One line says that somebody else signed it."""
    other = tmp_path / "other.pub"
    generate_key(other.with_suffix(".pem"))
    other.chmod(0o644)
    assert "was made with another key" in refusal(signed, other)


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("model_repository/digits/1/model.onnx", "does not match its digest in plan.json"),
        ("model_repository/digits/config.pbtxt", "is not what was signed"),
        ("plan.json", "is not what was signed"),
    ],
)
def test_it_does_not_start_with_a_flipped_bit(
    with_docker: DockerEngine, signed: str, key: Path, path: str, why: str
) -> None:
    """An image on top of it that changes one bit is refused, and the file is named; weights by the signed plan."""
    with_docker.run("create", "--name=flip", "--user=0", "--entrypoint=python3", signed, "-c", _FLIP, path)
    try:
        with_docker.run("start", "--attach", "flip")
        as_before = ("USER 1000:2000", 'ENTRYPOINT ["python3", "-m", "nimify.serving"]', "CMD []")
        flipped = with_docker.run("commit", *(f"--change={line}" for line in as_before), "flip").strip()
    finally:
        with_docker.run("rm", "--force", "flip")
    said = refusal(flipped, key)
    assert path in said
    assert why in said


def test_an_image_without_a_signature_does_not_start(
    with_docker: DockerEngine, digits: Path, build: Build, key: Path
) -> None:
    """Told to check, the service takes no signature for none that is right."""
    unsigned = build(digits, "localhost/digits:unsigned", proof=False).image.id
    assert "model.sig" in refusal(unsigned, key)
