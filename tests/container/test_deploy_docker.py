"""The docker target on a real Docker engine, with an image of this very tree.

The engine is one of its own, with a bridge of its own, and both go with the tests. The image holds the interpreter that
runs the tests and what it imports, so nothing is fetched. Needs root, dockerd and iproute2; skipped without them, with
the reason, and required when NIMIFY_REQUIRE names `docker`.
"""

from __future__ import annotations

import json
import subprocess
import sys
import sysconfig
import tarfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest
from tests.container.bridged import Docker, bridged_engine, tool

from nimify.core.deployments import DeployedService, deploy, foresee, order_for
from nimify.errors import NotDeployed, RolledBack
from nimify.targets.target import Applied, Phase

pytestmark = [pytest.mark.container, pytest.mark.slow]
SOURCE: Final = Path(__file__).parents[2] / "src" / "nimify"
PACKAGES: Final = ("numpy", "numpy.libs", "onnxruntime", "orjson", "uvloop", "httptools", "hpack", "google")
KEY: Final = "a-key-of-these-tests-0123456789"
_LEFT_OUT: Final = {"test", "tests", "idlelib", "ensurepip", "site-packages", "__pycache__", "tkinter", "lib2to3"}


@pytest.fixture(scope="module")
def docker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Docker]:
    with bridged_engine(tmp_path_factory.mktemp("engine")) as engine:
        yield engine


@pytest.fixture(autouse=True)
def engine_of_the_tests(docker: Docker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", docker.socket)
    monkeypatch.setenv("NIMIFY_STATE", str(tmp_path / "state"))


@pytest.fixture(autouse=True)
def containers_go_with_the_test(docker: Docker) -> Iterator[None]:
    yield
    for container in docker("ps", "--all", "--quiet").split():
        docker("rm", "--force", container)


@pytest.fixture(scope="module")
def bundle(make_bundle: Callable[..., Path]) -> Path:
    return make_bundle("tiny", limits={"drain_s": 0})


def libraries(files: list[Path]) -> set[Path]:
    """The shared libraries that programs and modules load, as the loader finds them."""
    found: set[Path] = set()
    for file in files:
        done = subprocess.run([tool("ldd"), str(file)], capture_output=True, text=True, check=False)
        for word in done.stdout.split():
            if word.startswith("/") and Path(word).is_file():
                found.add(Path(word))
    return found


def root_of_this_interpreter(archive: Path, bundle: Path) -> None:
    """A root filesystem with this interpreter, what the service imports, this tree's code, and a bundle."""
    site = Path(sysconfig.get_path("purelib"))
    standard = Path(sysconfig.get_path("stdlib"))
    interpreter = Path(sys.executable).resolve()
    # The metadata of nimify tells it which engines there are.
    packages = [
        *(site / name for name in PACKAGES if (site / name).exists()),
        *site.glob("nimify_anything-*.dist-info"),
    ]
    trees = [standard, *packages]
    modules = [
        file for tree in trees for file in tree.rglob("*.so*") if not _LEFT_OUT & set(file.parts[len(tree.parts) :])
    ]

    def kept(info: tarfile.TarInfo) -> tarfile.TarInfo | None:
        return None if _LEFT_OUT & set(Path(info.name).parts[-1:]) else info

    with tarfile.open(archive, "w", dereference=True) as tar:
        tar.add(interpreter, interpreter)
        for library in sorted(libraries([interpreter, *modules])):
            if ".." not in library.parts:  # a package's own, which go with the package
                tar.add(library.resolve(), library)
        tar.add(standard, standard, filter=kept)
        for tree in packages:
            tar.add(tree, f"/opt/nim/packages/{tree.name}", filter=kept)
        tar.add(SOURCE, "/opt/nim/nimify/nimify", filter=kept)
        tar.add(bundle, "/opt/nim/bundle")
        for folder in ("/tmp", "/opt/nim/.cache"):
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o1777
            tar.addfile(entry)


@pytest.fixture(scope="module")
def image(docker: Docker, bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    archive = tmp_path_factory.mktemp("image") / "root.tar"
    root_of_this_interpreter(archive, bundle)
    interpreter = Path(sys.executable).resolve()
    changes = [
        "ENV PYTHONPATH=/opt/nim/nimify:/opt/nim/packages PYTHONDONTWRITEBYTECODE=1 HOME=/tmp",
        "USER 1000:2000",
        f'ENTRYPOINT ["{interpreter}", "-m", "nimify.serving"]',
    ]
    options = [word for change in changes for word in ("--change", change)]
    with archive.open("rb") as stream:
        docker("import", *options, "-", "tiny:1", stdin=stream)
    archive.unlink()
    return "tiny:1"


@pytest.fixture(scope="module")
def broken_image(docker: Docker, image: str) -> str:
    """The same, but it ends at once."""
    docker("create", "--name=broken", image)
    docker("commit", "--change", 'ENTRYPOINT ["/nowhere"]', "broken", "tiny:broken")
    docker("rm", "broken")
    return "tiny:broken"


def deployed(bundle: Path, image: str, **settings: str) -> Applied:
    return deploy("docker", order_for(bundle, image=image, settings={"port": "0", **settings}, timeout_s=120.0))


def test_a_container_answers_with_no_more_rights_than_it_needs(docker: Docker, bundle: Path, image: str) -> None:
    """It is live on loopback, proven, and the engine confirms every restriction."""
    applied = deployed(bundle, image, memory=str(512 << 20))

    deployment = applied.deployment
    (described,) = json.loads(docker("inspect", "nimify-tiny-1"))
    host: dict[str, Any] = described["HostConfig"]
    assert deployment.phase is Phase.RUNNING
    assert deployment.url.startswith("http://127.0.0.1:")
    assert host["ReadonlyRootfs"]
    assert host["CapDrop"] == ["ALL"]
    assert host["SecurityOpt"] == ["no-new-privileges"]
    assert host["Memory"] == host["MemorySwap"] == 512 << 20
    assert host["PidsLimit"] > 0
    assert host["RestartPolicy"]["Name"] == "unless-stopped"
    assert docker("ps", "--all", "--format={{.Names}}") == "nimify-tiny-1"
    assert not deployed(bundle, image, memory=str(512 << 20)).changed


def test_the_life_of_a_service(bundle: Path, image: str) -> None:
    """Another setting is another revision; rollback, logs, stop and purge do what they say."""
    deployed(bundle, image)
    second = deployed(bundle, image, pids="100").deployment
    assert [(revision.number, revision.live) for revision in second.revisions] == [(2, True), (1, False)]

    service = DeployedService.find("tiny")
    back = service.rollback().deployment
    assert back.live is not None
    assert back.live.number == 1
    with urllib.request.urlopen(f"{back.url}/v1/health/ready", timeout=30) as answer:
        assert answer.status == 200
    assert any("ready" in line for line in service.logs(lines=50))
    assert service.stop()
    assert service.status().phase is Phase.STOPPED
    assert service.stop(purge=True)


def test_a_container_behind_keys_is_proven_with_one_of_them(
    docker: Docker, bundle: Path, image: str, tmp_path: Path
) -> None:
    """Keys come from a mounted folder; callers need one, the proof has one, and the engine's records have none."""
    keys = tmp_path / "keys"
    keys.mkdir()
    (keys / "gateway").write_text(f"{KEY}\n")
    applied = deployed(bundle, image, api_keys=str(keys))
    assert applied.deployment.phase is Phase.RUNNING
    with pytest.raises(urllib.error.HTTPError, match="401"):
        urllib.request.urlopen(f"{applied.deployment.url}/v1/models", timeout=30)
    assert deployed(bundle, image, api_keys=str(keys), pids="100").changed
    back = DeployedService.find("tiny").rollback().deployment
    assert back.phase is Phase.RUNNING
    assert KEY not in docker("inspect", *docker("ps", "--all", "--quiet").split())
    other = {"port": "0", "api_keys": str(keys), "pids": "99"}
    order = order_for(bundle, image=image, settings=other, timeout_s=120.0)
    with pytest.raises(NotDeployed, match="401"):
        deploy("docker", replace(order, headers={"X-API-Key": "another-key-0123456789"}))


def test_an_update_refuses_connections_in_one_stretch_and_no_longer(bundle: Path, image: str) -> None:
    """What is lost lies between the old container's end and the new one's readiness; printed with -s as a ratio."""
    url = deployed(bundle, image, port="18098").deployment.url
    asked: list[tuple[float, bool]] = []
    ended = threading.Event()

    def ask() -> None:
        while not ended.is_set():
            try:
                with urllib.request.urlopen(f"{url}/v1/health/live", timeout=30) as answer:
                    asked.append((time.monotonic(), answer.status == 200))
            except OSError:
                asked.append((time.monotonic(), False))
            ended.wait(0.01)

    client = threading.Thread(target=ask)
    client.start()
    began = time.monotonic()
    try:
        deployed(bundle, image, port="18098", pids="100")
    finally:
        took_s = time.monotonic() - began
        ended.set()
        client.join()
    lost = [number for number, (_, good) in enumerate(asked) if not good]
    assert lost, "if nothing is lost any more, docs/limitations.md says too much"
    assert lost == list(range(lost[0], lost[-1] + 1))
    assert 0 < lost[0] <= lost[-1] < len(asked) - 1
    gap_s = asked[lost[-1] + 1][0] - asked[lost[0] - 1][0]
    sys.stdout.write(f"refused for {gap_s:.2f} s, {gap_s / took_s:.0%} of an update of {took_s:.2f} s\n")


def test_an_image_that_does_not_start_changes_nothing(bundle: Path, image: str, broken_image: str) -> None:
    """The trial fails with the engine's words, and the live container is the one before."""
    before = deployed(bundle, image).deployment

    with pytest.raises(NotDeployed, match="nothing changed"):
        deployed(bundle, broken_image)

    after = DeployedService.find("tiny").status()
    assert (after.url, after.instances, after.revisions) == (before.url, before.instances, before.revisions)


def test_a_container_that_fails_after_its_trial_is_undone(
    bundle: Path, image: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the new container does not prove itself on its port, the old one is started again."""
    from nimify.targets.verification import Unfit, verify

    url = deployed(bundle, image, port="18099").deployment.url
    proven: list[str] = []

    def fails_on_the_port(where: str, proof: Any, **options: Any) -> None:
        proven.append(where)
        if proven.count(url) == 1:
            raise Unfit("It answers otherwise.")
        verify(where, proof, **options)

    monkeypatch.setattr("nimify.targets.docker.rollout.verify", fails_on_the_port)

    with pytest.raises(RolledBack, match="Revision 1 answers again"):
        deployed(bundle, image, port="18099", pids="100")

    status = DeployedService.find("tiny").status()
    assert status.phase is Phase.RUNNING
    assert [revision.number for revision in status.revisions] == [1]


def test_what_a_killed_deployment_left_is_cleared_away(docker: Docker, bundle: Path, image: str) -> None:
    """A container of a trial that nobody ended does not stay."""
    labels = ("--label=io.nimify.service=tiny", "--label=io.nimify.revision=1", "--label=io.nimify.trial=true")
    docker("run", "--detach", "--name=nimify-tiny-trial-1", *labels, image)

    deployed(bundle, image)

    assert docker("ps", "--all", "--format={{.Names}}") == "nimify-tiny-1"


def test_a_forecast_names_what_is_lacking(bundle: Path, image: str) -> None:
    """Without an image, or with more memory than there is, the preflight says so before anything runs."""
    assert [finding.code for finding in foresee("docker", order_for(bundle)).errors] == ["docker.no-image"]

    order = order_for(bundle, image=image, settings={"memory": str(1 << 48)})
    assert [finding.code for finding in foresee("docker", order).errors] == ["docker.memory"]
