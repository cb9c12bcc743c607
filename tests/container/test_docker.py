"""Images that a real Docker engine builds, starts and inspects."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.container.conftest import BASE, ROOT, Build, DockerEngine

from nimify.artifacts.bundle import Bundle
from nimify.config import ModelConfig
from nimify.core.nimifier import Nimifier
from nimify.errors import BuildFailed, EnvironmentProblem, ProofFailed
from nimify.images.docker import DockerBuilder
from nimify.images.proof import prove
from nimify.images.record import RECORD_FILE, BuildRecord
from nimify.images.runtime import Confinement

pytestmark = pytest.mark.container

MIB = 1 << 20


@pytest.fixture(scope="module")
def own(digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle of `built`, whose record no other build replaces."""
    return shutil.copytree(digits, tmp_path_factory.mktemp("built") / "digits")


@pytest.fixture(scope="module")
def built(docker: DockerEngine, own: Path, one_nimify: None) -> Iterator[BuildRecord]:
    """The example's image."""
    from nimify.images.build import BuildOptions, build_image

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DOCKER_HOST", docker.host)
        patch.setenv("PATH", "/usr/bin", prepend=":")
        options = BuildOptions(tag="localhost/digits:1.0", builder="docker", base=BASE, network="host")
        yield build_image(Bundle.open(own), options, lambda _: None)


def inspected(docker: DockerEngine, image: str) -> dict[str, Any]:
    found: list[dict[str, Any]] = json.loads(docker.run("image", "inspect", image))
    return found[0]


def test_a_built_image_has_proven_itself(docker: DockerEngine, built: BuildRecord, own: Path) -> None:
    """It answered every golden request as a user that it does not know, and what was measured is on record."""
    assert built.measured is not None
    assert built.measured.requests == 2
    assert int(built.measured.user.partition(":")[0]) >= 100_000
    assert 0 < built.measured.load_s < 120
    assert 10 * MIB < built.measured.memory_bytes < 1024 * MIB
    assert json.loads((own / RECORD_FILE).read_bytes()) == json.loads(json.dumps(built.to_dict()))
    assert inspected(docker, "localhost/digits:1.0")["Id"] == built.image.id
    assert not docker.containers()


def test_it_is_small(built: BuildRecord) -> None:
    """Base and all, without the weights."""
    assert built.image.size_bytes < 400e6


def test_it_runs_as_the_operator_runs_it(with_docker: DockerEngine, built: BuildRecord, digits: Path) -> None:
    """User 1000 and group 2000, as NVIDIA's operator has it."""
    runtime = DockerBuilder().runtime(built.image)
    room = Confinement(memory_bytes=512 * MIB, tmp_bytes=16 * MIB, cache_bytes=MIB, uid=1000, gid=2000)
    assert prove(runtime, Bundle.open(digits), room, ready_s=120, tell=lambda _: None).user == "1000:2000"
    assert not with_docker.containers()


def test_it_holds_nothing_that_installs(docker: DockerEngine, built: BuildRecord) -> None:
    """No pip, no compiler, and none of the build side's libraries."""
    modules = ("pip", "ensurepip", "click", "pydantic", "onnx", "yaml")
    script = (
        "import importlib.util, json, shutil\n"
        f"print(json.dumps([name for name in {modules!r} if importlib.util.find_spec(name)]\n"
        "      + [name for name in ('pip', 'pip3', 'gcc', 'cc', 'make') if shutil.which(name)]))"
    )
    run = ["run", "--rm", "--network=none", "--entrypoint=python3", built.image.id, "-c", script]
    assert json.loads(docker.run(*run)) == []


def test_its_configuration_is_what_clusters_ask_for(docker: DockerEngine, built: BuildRecord) -> None:
    """A numeric user, exec forms, SIGTERM, a health check, and labels that say what is in it."""
    config = inspected(docker, built.image.id)["Config"]
    assert config["User"] == "1000:2000"
    assert config["Entrypoint"] == ["python3", "-m", "nimify.serving"]
    assert config["StopSignal"] == "SIGTERM"
    assert config["Healthcheck"]["Test"] == ["CMD", "python3", "-m", "nimify.serving.probe"]
    labels = config["Labels"]
    assert labels["io.nimify.model-digest"] == built.model_digest
    assert labels["io.nimify.wheel-digest"] == built.wheel_digest
    assert re.fullmatch("sha256:[0-9a-f]{64}", labels["io.nimify.openapi-digest"])
    assert re.fullmatch("sha256:[0-9a-f]{64}", labels["io.nimify.signature-digest"])


HOSTILE = 'x"\nRUN touch /pwned $(id) ${PATH} `id` \\" \\\\ \\\nFROM scratch \u202e\u2028 {{ }} é'


def test_an_owner_s_words_stay_words(with_docker: DockerEngine, build: Build, tmp_path: Path) -> None:
    """A description that tries every way out of its quotes comes back as the one label that it is."""
    from nimify.errors import one_line

    config = ModelConfig.build({"name": "hostile", "description": HOSTILE, "license": {"name": HOSTILE}})
    Nimifier(config).create(ROOT / "examples/digits/digits.onnx", tmp_path / "bundle")
    image = build(tmp_path / "bundle", "localhost/hostile:1", proof=False).image
    labels = inspected(with_docker, image.id)["Config"]["Labels"]
    assert labels["org.opencontainers.image.description"] == one_line(HOSTILE)
    assert labels["org.opencontainers.image.licenses"] == one_line(HOSTILE)


def test_an_image_that_answers_wrong_gets_no_name(
    with_docker: DockerEngine, built: BuildRecord, digits: Path, build: Build, tmp_path: Path
) -> None:
    """The proof fails with what was expected, and leaves neither a name nor a container."""
    shutil.copytree(digits, tmp_path / "bundle")
    recorded = next((tmp_path / "bundle/golden").glob("*.response.json"))
    answer = json.loads(recorded.read_bytes())
    answer["outputs"][0]["data"][0] = 1e6
    recorded.write_text(json.dumps(answer))
    with pytest.raises(ProofFailed, match="golden request") as raised:
        build(tmp_path / "bundle", "localhost/wrong:1")
    assert any("ready" in line for line in raised.value.evidence)
    assert "localhost/wrong" not in with_docker.run("images")
    assert not with_docker.containers()


def test_a_step_that_fails_is_told_in_its_own_words(
    with_docker: DockerEngine, digits: Path, build: Build, tmp_path: Path
) -> None:
    """A wrong hash ends the build, and pip's own lines are the evidence."""
    shutil.copytree(digits, tmp_path / "bundle")
    lock = tmp_path / "bundle/container/requirements.txt"
    lock.write_text(f"hpack==4.1.0 --hash=sha256:{'0' * 64}\n")
    with pytest.raises(BuildFailed) as raised:
        build(tmp_path / "bundle", "localhost/broken:1")
    assert any("HASHES" in line or "hash" in line.lower() for line in raised.value.evidence)


def test_a_base_that_is_nowhere_is_an_error_before_anything_is_built(
    with_docker: DockerEngine, digits: Path, build: Build
) -> None:
    """The registry does not answer, and the machine has no copy."""
    with pytest.raises(EnvironmentProblem, match="cannot be fetched"):
        build(digits, "localhost/digits:1", base="127.0.0.1:1/nowhere:1")


def test_a_registry_that_refuses_leaves_the_image_here(
    with_docker: DockerEngine, built: BuildRecord, digits: Path, build: Build
) -> None:
    """The push fails in words; the image has its name."""
    with pytest.raises(EnvironmentProblem, match="does not take"):
        build(digits, "127.0.0.1:1/digits:1", proof=False, push=True)
    assert "127.0.0.1:1/digits" in with_docker.run("images")


def test_an_interrupt_leaves_no_container(with_docker: DockerEngine, built: BuildRecord, digits: Path) -> None:
    """Ctrl-C during the proof ends the container with it."""
    command = [sys.executable, "-m", "nimify", "build", str(digits), "--tag=localhost/digits:interrupted"]
    options = [f"--base={BASE}", "--network=host", "--builder=docker"]
    process = subprocess.Popen([*command, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    for line in process.stderr:
        if "The image starts as" in line:
            process.send_signal(signal.SIGINT)
            break
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 130, errors
    assert not with_docker.containers()


def test_the_triton_image_starts_triton(
    with_docker: DockerEngine, built: BuildRecord, digits: Path, build: Build
) -> None:
    """Built on a base without one, it says so; only NVIDIA's base, which is not to be had here, has one."""
    image = build(digits, "localhost/digits:triton", family="triton", proof=False).image
    config = inspected(with_docker, image.id)["Config"]
    assert config["Labels"]["io.nimify.family"] == "triton"
    assert set(config["ExposedPorts"]) == {"8000/tcp", "8001/tcp", "8002/tcp"}
    command = ["/usr/bin/docker", "run", "--rm", "--network=none", "--read-only", "--tmpfs=/tmp", image.id]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 5
    assert "There is no program 'tritonserver'." in done.stderr
