"""Images signed by the real cosign in a real registry, and deployed only with the signature of the right key."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.container.bridged import Docker, bridged_engine
from tests.container.conftest import BASE, Build, DockerEngine
from tests.container.engines import Engine, Registry
from tests.scanners.conftest import program

from nimify.artifacts.bundle import Bundle
from nimify.cli import main
from nimify.errors import ConfigError, EnvironmentProblem
from nimify.images.build import BuildOptions, build_image
from nimify.images.cosign import sign
from nimify.images.record import BuildRecord
from nimify.images.reference import ImageName

pytestmark = [pytest.mark.scanners, pytest.mark.timeout(1800)]

PASSWORD = "for tests: ünïcode"
REFUSED = 10


@pytest.fixture(scope="module", autouse=True)
def cosign() -> Iterator[str]:
    """The path of cosign; on the PATH, with the password of every key here in the environment."""
    found = program("cosign")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", str(Path(found).parent), prepend=":")
        patch.setenv("COSIGN_PASSWORD", PASSWORD)
        yield found


@pytest.fixture(scope="module")
def make_key(cosign: str, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Makes a key pair; the private one lies beside the public one, whose path is given."""
    folder = tmp_path_factory.mktemp("cosign-keys")

    def make(name: str) -> Path:
        arguments = ("generate-key-pair", "--output-key-prefix", str(folder / name))
        subprocess.run([cosign, *arguments], stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=True)
        return folder / f"{name}.pub"

    return make


@pytest.fixture(scope="module")
def key(make_key: Callable[[str], Path]) -> Path:
    """The public key of whoever releases."""
    return make_key("release")


@pytest.fixture(scope="module")
def bundle(digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shutil.copytree(digits, tmp_path_factory.mktemp("released") / "digits")


@pytest.fixture(scope="module")
def released(docker: DockerEngine, registry: Registry, bundle: Path, key: Path) -> BuildRecord:
    """What `nimify build --push --sign-image` made of a bundle."""
    with Engine("docker", {"DOCKER_HOST": docker.host}).chosen():
        asked = BuildOptions(
            tag=f"{registry.host}/team/digits:1.0",
            builder="docker",
            base=BASE,
            network="host",
            push=True,
            sign_image=str(key.with_suffix(".key")),
            proof=False,
        )
        return build_image(Bundle.open(bundle), asked, lambda _: None)


@pytest.fixture(scope="module")
def bridged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Docker]:
    """An engine that has none of the images yet."""
    with bridged_engine(tmp_path_factory.mktemp("bridged")) as engine:
        yield engine


@pytest.fixture
def deployable(bridged: Docker, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Docker:
    """Deployments of this test go to that engine, and are forgotten with it."""
    monkeypatch.setenv("DOCKER_HOST", bridged.socket)
    monkeypatch.setenv("NIMIFY_STATE", str(tmp_path / "state"))
    return bridged


def deploy(bundle: Path, *options: str) -> int:
    return main(["deploy", str(bundle), "--target=docker", "--set=port=0", "--set=grpc_port=0", "--json", *options])


def test_what_was_built_is_signed_in_its_registry(released: BuildRecord, bundle: Path, key: Path, cosign: str) -> None:
    """The official tool finds the signature by the key, and the record of the build says so."""
    image = released.image
    reference = f"{image.name.rpartition(':')[0]}@{image.digest}"
    done = subprocess.run(
        [cosign, "verify", "--insecure-ignore-tlog=true", "--key", str(key), reference],
        capture_output=True,
        timeout=60,
        check=True,
    )

    (row,) = json.loads(done.stdout)
    assert row["critical"]["image"]["docker-manifest-digest"] == image.digest
    assert json.loads((bundle / "build.json").read_text())["signed"] is True


def test_a_signed_image_is_deployed_by_its_digest(
    deployable: Docker, released: BuildRecord, bundle: Path, key: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is named by a tag, and what runs and answers is the very image that was signed."""
    assert deploy(bundle, f"--image={released.image.name}", f"--verify-image={key}") == 0

    answer = json.loads(capsys.readouterr().out)
    assert released.image.digest in answer["revisions"][0]["source"]
    (container,) = json.loads(deployable("inspect", answer["instances"][0]["name"]))
    assert container["Image"] == released.image.id
    assert container["State"]["Running"] is True


def test_another_key_deploys_nothing(
    deployable: Docker,
    released: BuildRecord,
    bundle: Path,
    make_key: Callable[[str], Path],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Signed is not enough; it must be by whom it should be."""
    other = make_key("other")
    before = deployable("ps", "--all", "--quiet")

    assert deploy(bundle, f"--image={released.image.name}", f"--verify-image={other}") == REFUSED

    assert "is not signed with the key" in capsys.readouterr().err
    assert deployable("ps", "--all", "--quiet") == before


@pytest.fixture(scope="module")
def push_unsigned(docker: DockerEngine, registry: Registry, released: BuildRecord) -> Callable[[str], str]:
    """Puts another image into the registry, that nobody has signed; its name."""

    def push(repository: str) -> str:
        name = f"{registry.host}/team/{repository}:1.0"
        with Engine("docker", {"DOCKER_HOST": docker.host}).chosen():
            docker.run("create", "--name=other", released.image.id)
            docker.run("commit", f"--change=LABEL other={repository}", "other", name)
            docker.run("rm", "other")
            docker.run("push", name)
        return name

    return push


@pytest.fixture(scope="module")
def unsigned(push_unsigned: Callable[[str], str]) -> str:
    return push_unsigned("unsigned")


def test_an_image_without_a_signature_deploys_nothing(
    deployable: Docker, unsigned: str, bundle: Path, key: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also in a forecast."""
    for options in ((), ("--dry-run",)):
        assert deploy(bundle, f"--image={unsigned}", f"--verify-image={key}", *options) == REFUSED
        assert "no signatures found" in capsys.readouterr().err


def test_a_signed_statement_about_an_image_is_no_signature_of_it(
    deployable: Docker,
    push_unsigned: Callable[[str], str],
    bundle: Path,
    key: Path,
    cosign: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A list of its packages, signed with the same key, does not say that it may run."""
    stated = push_unsigned("stated")
    (tmp_path / "statement.json").write_text("{}")
    statement = ("--predicate", str(tmp_path / "statement.json"), "--type", "https://example.com/scanned")
    no_log = ("--use-signing-config=false", "--tlog-upload=false", "--yes")
    arguments = ("attest", *no_log, "--key", str(key.with_suffix(".key")), *statement, stated)
    subprocess.run([cosign, *arguments], stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=True)

    assert deploy(bundle, f"--image={stated}", f"--verify-image={key}") == REFUSED

    assert "has no signature with the key" in capsys.readouterr().err


def test_a_registry_that_does_not_answer_deploys_nothing(
    deployable: Docker, bundle: Path, key: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What cannot be checked is not signed."""
    assert deploy(bundle, "--image=127.0.0.1:1/team/digits:1.0", f"--verify-image={key}") == REFUSED
    assert "connection refused" in capsys.readouterr().err


def test_no_variable_turns_the_check_off(
    deployable: Docker, unsigned: str, bundle: Path, key: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cosign takes its options from the environment, too."""
    for name, value in (("CHECK_CLAIMS", "false"), ("LOCAL_IMAGE", "true"), ("KEY", "/nowhere")):
        monkeypatch.setenv(f"COSIGN_{name}", value)

    assert deploy(bundle, f"--image={unsigned}", f"--verify-image={key}") == REFUSED


def test_a_wrong_password_is_found_before_anything_is_built(
    with_docker: DockerEngine,
    registry: Registry,
    digits: Path,
    key: Path,
    build: Build,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No image is built that could not be signed in the end; nobody is asked for the password."""
    images = with_docker.run("images", "--quiet", "--all")
    for password in ("wrong", None):
        monkeypatch.setenv("COSIGN_PASSWORD", password) if password else monkeypatch.delenv("COSIGN_PASSWORD")
        with pytest.raises(ConfigError, match=r"cosign cannot sign with .*decrypt") as raised:
            build(digits, f"{registry.host}/team/digits:2", push=True, sign_image=str(key.with_suffix(".key")))
        assert "COSIGN_PASSWORD" in raised.value.remedy
    assert with_docker.run("images", "--quiet", "--all") == images


def test_a_key_may_come_from_the_environment(
    with_docker: DockerEngine,
    registry: Registry,
    digits: Path,
    key: Path,
    build: Build,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As pipelines have it; and the public one, too."""
    monkeypatch.setenv("SIGNING_KEY", key.with_suffix(".key").read_text())
    monkeypatch.setenv("PUBLIC_KEY", key.read_text())
    bundle = shutil.copytree(digits, tmp_path / "digits")

    record = build(bundle, f"{registry.host}/team/env:1", push=True, sign_image="env://SIGNING_KEY", proof=False)

    assert record.signed
    assert deploy(bundle, f"--image={record.image.name}", "--verify-image=env://PUBLIC_KEY", "--dry-run") == 0


def test_a_registry_that_takes_no_signature_is_an_error(key: Path) -> None:
    """The image is in its registry then, and the error says that it is not signed, and how to sign it."""
    image = ImageName.parse(f"127.0.0.1:1/team/digits@sha256:{'0' * 64}", field="image")
    with pytest.raises(EnvironmentProblem, match=r"is not signed: .*connection refused") as raised:
        sign(image, str(key.with_suffix(".key")), field="--sign-image")
    assert raised.value.remedy.startswith("Sign it with: cosign sign ")
    assert raised.value.remedy.endswith(f" --tlog-upload=false --key KEY {image}")
