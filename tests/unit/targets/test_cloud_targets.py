"""The targets at clouds against stand-ins for the vendors' tools, with a real service behind each of their doors.

No real cloud is behind these tests; see docs/limitations.md.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from nimify import plugins
from nimify.core.deployments import DeployedService, deploy, foresee, order_for, target_named
from nimify.errors import ConfigError, EnvironmentProblem, LeftDegraded, NotDeployed, RolledBack
from nimify.targets.cloud import azureml, cloud_run, sagemaker, vertex
from nimify.targets.cloud.place import options_of
from nimify.targets.cloud.tag import Tag, digest_of
from nimify.targets.target import Applied, Phase

pytestmark = pytest.mark.usefixtures("state")
FAKE = Path(__file__).with_name("fake_vendors.py")
ROLE = "arn:aws:iam::123456789012:role/service"


@dataclass(frozen=True)
class Vendor:
    """What differs between the clouds for a test.

    Attributes:
        program: The vendor's tool.
        platform: What it sets for the container.
        registry: Where its images are.
        settings: Those that are needed.
        other: A setting that makes another release.
        files: What it is given.
        stays: Whether releases are left when the service is stopped.
    """

    program: str
    platform: dict[str, str]
    registry: str
    other: dict[str, str]
    files: tuple[str, ...]
    settings: dict[str, str] = field(default_factory=dict)
    stays: bool = True


VENDORS = {
    "sagemaker": Vendor(
        "aws",
        {"NIMIFY_PLATFORM": "sagemaker"},
        "123456789012.dkr.ecr.us-east-1.amazonaws.com/tiny",
        {"instances": "2"},
        ("model.json", "endpoint-config.json", "endpoint.json"),
        {"role": ROLE},
    ),
    "vertex": Vendor(
        "gcloud",
        {"NIMIFY_PLATFORM": "vertex"},
        "europe-docker.pkg.dev/p/r/tiny",
        {"replicas": "2"},
        ("upload.yaml", "deploy.yaml"),
    ),
    "azureml": Vendor(
        "az",
        {"NIMIFY_PLATFORM": "azureml"},
        "acme.azurecr.io/tiny",
        {"instances": "2"},
        ("endpoint.yml", "deployment.yml"),
        stays=False,
    ),
    "cloud-run": Vendor(
        "gcloud",
        {"NIMIFY_PLATFORM": "cloud-run"},
        "europe-docker.pkg.dev/p/r/tiny",
        {"concurrency": "8"},
        ("service.yaml",),
        stays=False,
    ),
}
each_target = pytest.mark.parametrize("target", VENDORS)


class FakeCloud:
    """The stand-in's state."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "cloud.json"
        self._calls = folder / "calls"
        self.set(lag=1)

    def set(self, **more: Any) -> None:
        self._file.write_text(json.dumps({**self.state, **more}))

    @property
    def state(self) -> dict[str, Any]:
        return json.loads(self._file.read_text()) if self._file.exists() else {}

    @property
    def calls(self) -> list[str]:
        return self._calls.read_text().splitlines() if self._calls.exists() else []

    def changes(self) -> list[str]:
        words = (" create", " update", " delete", " upload", " deploy-model", " undeploy", " replace")
        return [call for call in self.calls if any(word in call for word in words)]


@pytest.fixture
def cloud(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeCloud:
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("aws", "gcloud", "az"):
        program = programs / name
        program.write_text(f"#!{sys.executable} -SE\n{FAKE.read_text()}")
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("FAKE_LIBRARIES", str(Path(yaml.__file__).parents[1]))
    monkeypatch.setenv("FAKE_CLOUD", str(tmp_path / "cloud.json"))
    monkeypatch.setattr("nimify.targets.cloud.rollout.POLL_S", 0.02)
    return FakeCloud(tmp_path)


@pytest.fixture(scope="module")
def bundle(make_bundle: Callable[..., Path]) -> Path:
    return make_bundle("tiny")


@pytest.fixture(scope="module")
def ports(bundle: Path, start_service: Callable[..., Any]) -> Callable[[str], int]:
    """Where a real service answers as the platform of a target has it."""
    running: dict[str, int] = {}

    def port(target: str) -> int:
        if target not in running:
            running[target] = int(start_service(bundle, env=VENDORS[target].platform).port)
        return running[target]

    return port


def rolled(bundle: Path, target: str, tag: str = "good", **settings: str) -> Applied:
    vendor = VENDORS[target]
    given = {**vendor.settings, **settings}
    return deploy(target, order_for(bundle, image=f"{vendor.registry}:{tag}", settings=given, timeout_s=120))


@each_target
def test_a_service_through_its_life(target: str, bundle: Path, cloud: FakeCloud, ports: Callable[[str], int]) -> None:
    """Deployed and proven, then unchanged; replaced, and gone back from; stopped, and purged."""
    cloud.set(port=ports(target))
    first = rolled(bundle, target)
    assert first.changed
    assert (first.deployment.phase, len(first.deployment.revisions)) == (Phase.RUNNING, 1)
    before = cloud.changes()
    assert not rolled(bundle, target).changed
    assert cloud.changes() == before

    second = rolled(bundle, target, **VENDORS[target].other)
    assert second.changed
    live = second.deployment.live
    assert live is not None
    assert live.number == 2
    service = DeployedService.find("tiny")
    back = service.rollback().deployment
    assert back.phase is Phase.RUNNING
    assert back.live is not None
    assert back.live.number == 1
    with pytest.raises(ConfigError, match="no revision before"):
        service.rollback()
    assert list(service.logs(lines=2))[-1]

    assert service.stop()
    assert service.status().phase is (Phase.STOPPED if VENDORS[target].stays else Phase.ABSENT)
    if VENDORS[target].stays:
        assert not service.stop()
        assert service.stop(purge=True)
    else:
        service = DeployedService.find("tiny", target=target)
    assert service.status().phase is Phase.ABSENT
    assert not service.stop(purge=True)


@each_target
def test_a_release_that_does_not_come_up_changes_nothing(
    target: str, bundle: Path, cloud: FakeCloud, ports: Callable[[str], int]
) -> None:
    """The first one is removed again; a later one leaves the live one where it was, with the cloud's reason."""
    cloud.set(port=ports(target))
    with pytest.raises(NotDeployed, match="Nothing ran before"):
        rolled(bundle, target, "bad")
    assert target_named(target).status(order_for(bundle).reference).phase in {Phase.ABSENT, Phase.STOPPED}
    live = rolled(bundle, target).deployment.live
    with pytest.raises((NotDeployed, RolledBack)) as caught:
        rolled(bundle, target, "bad")
    assert any(word in str(caught.value) for word in ("ping", "ready", "come up"))
    status = DeployedService.find("tiny").status()
    assert status.phase is Phase.RUNNING
    assert status.live == live


@pytest.mark.parametrize("target", ["sagemaker", "cloud-run"])
def test_a_wrong_answer_is_never_left_live(
    target: str,
    bundle: Path,
    cloud: FakeCloud,
    ports: Callable[[str], int],
    start_service: Callable[..., Any],
    make_bundle: Callable[..., Path],
) -> None:
    """Another model behind the door: the golden requests tell, and the release before answers again."""
    cloud.set(port=ports(target))
    live = rolled(bundle, target).deployment.live
    wrong = start_service(make_bundle("strings"), env=VENDORS[target].platform)
    cloud.set(port=wrong.port)
    with pytest.raises((NotDeployed, RolledBack)):
        rolled(bundle, target, **VENDORS[target].other)
    wrong.stop()
    status = DeployedService.find("tiny").status()
    assert status.live == live


def test_going_back_that_fails_is_said(bundle: Path, cloud: FakeCloud, ports: Callable[[str], int]) -> None:
    """Somebody must look at it."""
    cloud.set(port=ports("sagemaker"))
    rolled(bundle, "sagemaker")
    cloud.set(fail={"aws sagemaker-runtime": "ModelError", "aws sagemaker update-endpoint --endpoint-name": "refused"})
    with pytest.raises(LeftDegraded, match="Going back failed, too: refused"):
        rolled(bundle, "sagemaker", instances="3")


def test_what_somebody_else_made_is_left_alone(bundle: Path, cloud: FakeCloud) -> None:
    """Neither replaced nor deleted, although it has the name."""
    theirs = {"tiny": {"EndpointName": "tiny", "EndpointConfigName": "x", "EndpointStatus": "InService", "lag": 0}}
    cloud.set(endpoints=theirs)
    with pytest.raises(NotDeployed, match="was not made by nimify"):
        rolled(bundle, "sagemaker")
    with pytest.raises(EnvironmentProblem, match="was not made by nimify"):
        DeployedService.find("tiny", target="sagemaker").stop(purge=True)
    assert cloud.state["endpoints"] == theirs


def test_what_was_deployed_elsewhere_is_proven_and_unchanged(
    bundle: Path, cloud: FakeCloud, ports: Callable[[str], int], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """From another machine, whose records have no proof of it."""
    cloud.set(port=ports("cloud-run"))
    rolled(bundle, "cloud-run")
    monkeypatch.setenv("NIMIFY_STATE", str(tmp_path / "another"))
    before = cloud.changes()
    assert not rolled(bundle, "cloud-run").changed
    assert cloud.changes() == before


@each_target
def test_without_the_tool_files_and_commands_are_given(
    target: str, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: Path
) -> None:
    """The finding says what is missing, and what to do by hand names every file that was written."""
    monkeypatch.setenv("PATH", str(tmp_path))
    vendor = VENDORS[target]
    order = order_for(bundle, image=f"{vendor.registry}:1.0", settings=vendor.settings)
    forecast = foresee(target, order)
    (finding,) = forecast.errors
    assert finding.code == f"{target}.missing"
    assert "by hand" in finding.remedy
    assert all(line.startswith(f"  {vendor.program} ") for line in forecast.changes[1:])
    folder = state / target / "tiny" / "files"
    assert {path.name for path in folder.iterdir()} == set(vendor.files)
    assert all(any(str(folder / file) in line for line in forecast.changes) for file in vendor.files)
    with pytest.raises(NotDeployed):
        deploy(target, order)


@each_target
def test_a_dry_run_changes_nothing(target: str, bundle: Path, cloud: FakeCloud, state: Path) -> None:
    """It says what would change, with the files; the tool is only asked."""
    vendor = VENDORS[target]
    forecast = foresee(target, order_for(bundle, image=f"{vendor.registry}:1.0", settings=vendor.settings))
    assert not forecast.errors
    assert forecast.changes[0].startswith("bring release r1-")
    assert not cloud.changes()
    assert {path.name for path in (state / target / "tiny" / "files").iterdir()} == set(vendor.files)


@each_target
def test_somebody_who_is_not_signed_in_is_told_how(target: str, bundle: Path, cloud: FakeCloud) -> None:
    """And so is somebody without an image, or with one from elsewhere."""
    vendor = VENDORS[target]
    cloud.set(fail={"aws sts": "Unable to locate credentials", "gcloud auth list": "none", "az account": "az login"})
    (finding,) = foresee(target, order_for(bundle, image=f"{vendor.registry}:1", settings=vendor.settings)).errors
    assert finding.code == f"{target}.signed-in"
    assert "Sign in with" in finding.remedy
    cloud.set(fail={})
    (finding,) = foresee(target, order_for(bundle, settings=vendor.settings)).errors
    assert finding.code == f"{target}.no-image"
    elsewhere = foresee(target, order_for(bundle, image="docker.io/acme/tiny:1", settings=vendor.settings))
    assert [found.code for found in elsewhere.findings] == [f"{target}.registry"]


HOSTILE = ["-x", "--region=evil", "a b", "$(id)", "x\ny", "../x", "a//b", "{{x}}", "file:///etc/passwd", "é"]


@each_target
def test_hostile_words_reach_no_tool(target: str, bundle: Path, cloud: FakeCloud) -> None:
    """Image, namespace, name and every setting are held to their grammars before anything is run with them."""
    vendor = VENDORS[target]
    good = order_for(bundle, image=f"{vendor.registry}:1", settings=vendor.settings)
    names = {"role", "instance_type", "machine", "gpu", "auth"} & settings_of(target)
    for text in HOSTILE:
        orders = [replace(good, settings={**vendor.settings, name: text}) for name in names]
        orders += [replace(good, image=text), replace(good, reference=replace(good.reference, namespace=text))]
        for order in orders:
            with pytest.raises(ConfigError):
                foresee(target, order)
    assert not cloud.calls


def settings_of(target: str) -> set[str]:
    kinds: dict[str, Any] = {
        "sagemaker": sagemaker.SageMakerSettings,
        "vertex": vertex.VertexSettings,
        "azureml": azureml.AzureMlSettings,
        "cloud-run": cloud_run.CloudRunSettings,
    }
    return {found.name for found in fields(kinds[target])}


@each_target
def test_a_name_that_the_cloud_has_not_is_refused(
    target: str, make_bundle: Callable[..., Path], cloud: FakeCloud
) -> None:
    """Before anything is asked."""
    vendor = VENDORS[target]
    for name in ("a" * 53, "1st"):
        order = order_for(make_bundle("tiny", name=name), image=f"{vendor.registry}:1", settings=vendor.settings)
        with pytest.raises(ConfigError, match="name: "):
            foresee(target, order)
    assert not cloud.changes()


@pytest.mark.parametrize(
    ("target", "settings"),
    [
        ("sagemaker", {"role": ROLE, "instances": "0"}),
        ("vertex", {"replicas": "3", "most_replicas": "2"}),
        ("azureml", {"instances": "0"}),
        ("cloud-run", {"concurrency": "1001"}),
        ("cloud-run", {"least_instances": "9"}),
        ("cloud-run", {"regoin": "x"}),
    ],
)
@pytest.mark.usefixtures("cloud")
def test_settings_out_of_bounds_are_refused(target: str, settings: dict[str, str], bundle: Path) -> None:
    """By name."""
    with pytest.raises(ConfigError, match="--set"):
        foresee(target, order_for(bundle, image=f"{VENDORS[target].registry}:1", settings=settings))


def test_places_are_options_of_the_tool() -> None:
    """Parts in front may be left out, and all of them."""
    names = ("project", "region")
    assert options_of("", names) == ()
    assert options_of("europe-west4", names) == ("--region=europe-west4",)
    assert options_of("acme/europe-west4", names) == ("--project=acme", "--region=europe-west4")


def test_tags_are_read_back_and_nothing_else_is() -> None:
    """A service whose name begins like another's is not taken for it."""
    tag = Tag(12, digest_of({"a": b"1"}))
    assert Tag.parse(f"tiny-{tag}", before="tiny-") == tag
    for text in ("tiny-two-r1-aaaaaa", "tiny-r0-aaaaaa", "tiny-r1-xyz123", "tiny-r1-aaaaaaa", "r1-aaaaaa", ""):
        assert Tag.parse(text, before="tiny-") is None
    assert digest_of({"ab": b"c"}) != digest_of({"a": b"bc"})


@pytest.mark.parametrize("family", ["cpu", "triton"])
@each_target
def test_what_a_vendor_is_given_can_be_read_by_its_rules(
    target: str, family: str, make_bundle: Callable[..., Path], cloud: FakeCloud, state: Path
) -> None:
    """Names and bounds as the vendors' references have them, and a GPU where the image is made for one."""
    vendor, bundle = VENDORS[target], make_bundle("tiny", deployment={"family": family})
    foresee(target, order_for(bundle, image=f"{vendor.registry}:1", settings=vendor.settings))
    folder = state / target / "tiny" / "files"
    files = {file: yaml.safe_load((folder / file).read_text()) for file in vendor.files}
    text = json.dumps(files)
    assert f"{vendor.registry}:1" in text
    assert target in text
    gpu = {"sagemaker": "ml.g5", "vertex": "nvidia-l4", "azureml": "_T4_", "cloud-run": "nvidia-l4"}[target]
    assert (gpu in text) is (family == "triton")
    if target == "sagemaker":
        (variant,) = files["endpoint-config.json"]["ProductionVariants"]
        assert files["model.json"]["ModelName"] == variant["ModelName"]
        assert files["endpoint.json"]["EndpointConfigName"] == files["endpoint-config.json"]["EndpointConfigName"]
        assert 60 <= variant["ContainerStartupHealthCheckTimeoutInSeconds"] <= 3600
    elif target == "vertex":
        assert files["deploy.yaml"]["--traffic-split"] == {"0": 100}
    elif target == "azureml":
        routes = files["deployment.yml"]["environment"]["inference_config"]
        assert {route["port"] for route in routes.values()} == {8000}
        assert files["deployment.yml"]["request_settings"]["request_timeout_ms"] <= 180_000
    else:
        template = files["service.yaml"]["spec"]["template"]
        (container,) = template["spec"]["containers"]
        assert container["resources"]["limits"]["cpu"] in {"1", "2", "4", "6", "8"}
        probe = container["startupProbe"]
        assert probe["periodSeconds"] * probe["failureThreshold"] <= 240
        assert probe["timeoutSeconds"] <= probe["periodSeconds"]


def test_logs_that_cannot_be_followed_say_how_to(cloud: FakeCloud, bundle: Path, ports: Callable[[str], int]) -> None:
    """With the vendor's own command."""
    cloud.set(port=ports("cloud-run"))
    rolled(bundle, "cloud-run")
    with pytest.raises(EnvironmentProblem, match="logs tail"):
        list(DeployedService.find("tiny").logs(follow=True))


@pytest.mark.usefixtures("cloud")
def test_every_target_can_be_listed() -> None:
    """By the one door that all of them come through."""
    names = plugins.available(plugins.TARGETS)
    assert {*VENDORS, "nim-operator", "kserve"} <= set(names)
    for name in VENDORS:
        assert target_named(name).summary
        assert not target_named(name).preflight(None).errors
