"""The nim-operator and kserve targets against a stand-in for `kubectl` and the operators behind it.

No real cluster and no real operator are behind these tests; see docs/limitations.md.
"""

from __future__ import annotations

import copy
import json
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from nimify.core.deployments import DeployedService, deploy, foresee, order_for
from nimify.errors import BundleDamaged, ConfigError, LeftDegraded, NotDeployed, RolledBack
from nimify.images.reference import ImageName
from nimify.targets.custom_resource import inference_service, nim_service
from nimify.targets.custom_resource.document import filled
from nimify.targets.custom_resource.kind import REVISION_VARIABLE, ResourceKind
from nimify.targets.custom_resource.settings import ResourceSettings
from nimify.targets.target import Applied, Phase

pytestmark = pytest.mark.usefixtures("state")
FAKE = Path(__file__).with_name("fake_operator.py")
DATA = Path(__file__).parents[1] / "artifacts" / "data"
FIELDS = json.loads((DATA / "nimservice_fields.json").read_text())["fields"]
KINDS = {"nim-operator": nim_service.NIM_SERVICE, "kserve": inference_service.INFERENCE_SERVICE}
KNOWN = {
    "apps.nvidia.com/v1alpha1": ["NIMService"],
    "serving.kserve.io/v1beta1": ["InferenceService"],
    "monitoring.coreos.com/v1": ["ServiceMonitor"],
}


class FakeCluster:
    """The stand-in's state."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "cluster.json"
        self._calls = folder / "calls"
        self.set(kinds=KNOWN)

    def set(self, **more: Any) -> None:
        state = json.loads(self._file.read_text()) if self._file.exists() else {}
        self._file.write_text(json.dumps({**state, **more}))

    def objects(self, beginning: str) -> list[dict[str, Any]]:
        store = json.loads(self._file.read_text()).get("store", {})
        return [item for key, item in store.items() if key.startswith(beginning)]

    def unprove(self, number: int) -> None:
        """Leave a revision as a deployment leaves it that is killed before its proof."""
        store = json.loads(self._file.read_text())["store"]
        for item in store.values():
            if item.get("revision") == number:
                item["metadata"]["annotations"].pop("nimify.io/proven", None)
        self.set(store=store)

    @property
    def calls(self) -> list[str]:
        return self._calls.read_text().splitlines() if self._calls.exists() else []

    @property
    def changes(self) -> list[str]:
        verbs = ("kubectl apply", "kubectl create", "kubectl replace", "kubectl delete")
        return [call for call in self.calls if call.startswith(verbs) and "--dry-run" not in call]


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeCluster:
    programs = tmp_path / "bin"
    programs.mkdir()
    program = programs / "kubectl"
    program.write_text(f"#!{sys.executable} -SE\n{FAKE.read_text()}")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("FAKE_CLUSTER", str(tmp_path / "cluster.json"))
    monkeypatch.setattr("nimify.targets.kubernetes.watch.POLL_S", 0.05)
    return FakeCluster(tmp_path)


@pytest.fixture(scope="module")
def bundle(make_bundle: Callable[..., Path]) -> Path:
    return make_bundle("tiny", **{"with": ["nim-operator", "kserve"]})


@pytest.fixture(scope="module")
def service_port(bundle: Path, start_service: Callable[..., Any]) -> int:
    """Where a real service of the bundle listens."""
    return int(start_service(bundle).port)


@pytest.fixture
def served(cluster: FakeCluster, service_port: int) -> None:
    """What `port-forward` leads to: a real service of the bundle."""
    cluster.set(port=service_port)


@pytest.fixture(params=KINDS)
def target(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def rolled(bundle: Path, target: str, tag: str = "good", **settings: str) -> Applied:
    order = order_for(bundle, image=f"registry.example.com/tiny:{tag}", settings=settings, timeout_s=60)
    return deploy(target, order)


@pytest.mark.usefixtures("served")
def test_a_bundle_is_applied_proven_and_then_unchanged(target: str, bundle: Path, cluster: FakeCluster) -> None:
    """The operator may lag behind: what counts is the new pods. The second time nothing is written but the Lease."""
    cluster.set(lag=4)
    applied = rolled(bundle, target)
    assert applied.changed
    assert applied.deployment.phase is Phase.RUNNING
    assert applied.deployment.url.startswith("http://tiny.")
    assert applied.deployment.live is not None
    assert applied.deployment.live.number == 1
    assert applied.deployment.live.source == "registry.example.com/tiny:good"
    assert [instance.ready for instance in applied.deployment.instances] == [True]
    before = len(cluster.changes)
    assert not rolled(bundle, target).changed
    assert all("lease" in call or "replace" in call for call in cluster.changes[before:])
    assert cluster.objects(KINDS[target].resource)[0]["metadata"]["generation"] == 1


@pytest.mark.usefixtures("served")
@pytest.mark.parametrize(
    ("target", "tag"),
    [("nim-operator", "pull"), ("nim-operator", "refused"), ("kserve", "crash"), ("kserve", "refused")],
)
def test_what_cannot_come_up_ends_early_and_the_one_before_comes_back(
    tag: str, target: str, bundle: Path, cluster: FakeCluster
) -> None:
    """With the reason; the first deployment is removed again, a later one gives way to the one before."""
    with pytest.raises(NotDeployed, match="nothing ran before"):
        rolled(bundle, target, tag)
    assert not cluster.objects(KINDS[target].resource)
    rolled(bundle, target)
    why = {"pull": "ImagePullBackOff", "crash": "CrashLoopBackOff", "refused": "says: no such"}[tag]
    with pytest.raises(RolledBack, match=why):
        rolled(bundle, target, tag)
    status = DeployedService.find("tiny").status()
    assert status.phase is Phase.RUNNING
    assert status.live is not None
    assert status.live.source == "registry.example.com/tiny:good"


@pytest.mark.usefixtures("served")
@pytest.mark.parametrize("target", ["kserve"])
def test_a_wrong_answer_is_undone(
    target: str, bundle: Path, cluster: FakeCluster, start_service: Callable[..., Any], make_bundle: Callable[..., Path]
) -> None:
    """The pods are ready and another model is in them: the golden requests tell, and going back is proven, too."""
    rolled(bundle, target)
    cluster.set(port=start_service(make_bundle("strings")).port)
    with pytest.raises(LeftDegraded, match="Going back failed, too"):
        rolled(bundle, target, replicas="5")


@pytest.mark.usefixtures("served")
def test_rollback_stop_and_purge(target: str, bundle: Path, cluster: FakeCluster) -> None:
    """An earlier revision is applied as it was; a stopped service comes back; a purged one is gone."""
    rolled(bundle, target)
    rolled(bundle, target, replicas="3")
    service = DeployedService.find("tiny")
    assert service.rollback().changed
    live = service.status().live
    assert live is not None
    assert live.number == 1
    assert not service.rollback(1).changed
    with pytest.raises(ConfigError, match="no revision before"):
        service.rollback()
    assert list(service.logs()) == ["the last words of the pod"]
    assert service.sources()[0].ask is not None
    assert service.stop()
    assert service.status().phase is Phase.STOPPED
    assert service.rollback(2).deployment.phase is Phase.RUNNING
    assert service.stop(purge=True)
    assert service.status().phase is Phase.ABSENT
    assert not cluster.objects("controllerrevisions")
    assert not service.stop()


@pytest.mark.usefixtures("served")
@pytest.mark.parametrize("target", ["nim-operator"])
def test_what_a_killed_deployment_left_is_tidied(target: str, bundle: Path, cluster: FakeCluster) -> None:
    """What was applied and never proven is not called unchanged, and is not gone back to."""
    rolled(bundle, target)
    rolled(bundle, target, replicas="5")
    cluster.unprove(2)
    with pytest.raises(RolledBack, match="Revision 1 answers again"):
        rolled(bundle, target, "pull")
    cluster.unprove(1)
    assert rolled(bundle, target).changed


def test_two_at_once_are_one(target: str, bundle: Path, cluster: FakeCluster) -> None:
    """Whoever finds the Lease held changes nothing; it is the same Lease for all targets of a service."""
    lease = {
        "kind": "Lease",
        "metadata": {"name": "nimify-tiny", "resourceVersion": "1"},
        "spec": {"holderIdentity": "somebody", "leaseDurationSeconds": 30, "renewTime": "2999-01-01T00:00:00Z"},
    }
    cluster.set(store={"leases.coordination.k8s.io/nimify-tiny": lease})
    with pytest.raises(NotDeployed, match="somebody right now"):
        rolled(bundle, target)
    assert not cluster.changes


@pytest.mark.parametrize(
    ("state", "code"),
    [
        ({"kinds": {}}, "unknown-kind"),
        ({"forbidden": ["create controllerrevisions.apps"]}, "permissions"),
        ({"fail": {"kubectl version": "connection refused"}}, "unreachable"),
    ],
)
def test_what_the_cluster_lacks_is_found_before(
    state: dict[str, Any], code: str, target: str, bundle: Path, cluster: FakeCluster
) -> None:
    """Each with its remedy, and nothing is changed."""
    cluster.set(**state)
    order = order_for(bundle, image="registry.example.com/tiny:good")
    (finding,) = foresee(target, order).errors
    assert finding.code == f"{target}.{code}"
    assert finding.remedy
    with pytest.raises(NotDeployed):
        deploy(target, order)
    assert not cluster.changes


def test_a_missing_prometheus_operator_is_found(bundle: Path, cluster: FakeCluster) -> None:
    """The NIMService asks for a ServiceMonitor; that part can be left out."""
    cluster.set(kinds={key: value for key, value in KNOWN.items() if "monitoring" not in key})
    image = "registry.example.com/tiny:good"
    (finding,) = foresee("nim-operator", order_for(bundle, image=image)).errors
    assert finding.code == "nim-operator.monitor"
    assert not foresee("nim-operator", order_for(bundle, image=image, settings={"monitor": "off"})).errors


def test_a_dry_run_writes_the_file_and_changes_nothing(
    target: str, bundle: Path, cluster: FakeCluster, state: Path
) -> None:
    """What it writes is what would be applied, and it says where and how."""
    forecast = foresee(target, order_for(bundle, image="registry.example.com/tiny:good"))
    file = state / target / "tiny" / "files" / KINDS[target].file
    assert any(line.startswith("+") for line in forecast.changes)
    assert str(file) in forecast.changes[-1]
    assert "registry.example.com/tiny" in file.read_text()
    assert not cluster.changes


def test_without_kubectl_the_file_is_there_to_be_applied_by_hand(
    target: str, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: Path
) -> None:
    """The finding says how."""
    monkeypatch.setenv("PATH", str(tmp_path))
    forecast = foresee(target, order_for(bundle, image="registry.example.com/tiny:good"))
    (finding,) = forecast.errors
    assert "kubectl apply --server-side -f" in finding.remedy
    assert yaml.safe_load((state / target / "tiny" / "files" / KINDS[target].file).read_text())


def test_a_bundle_without_the_file_says_how_to_get_it(target: str, make_bundle: Callable[..., Path]) -> None:
    """So does an order without an image."""
    findings = foresee(target, order_for(make_bundle("tiny"))).errors
    assert any(f"--with {target}" in finding.remedy for finding in findings)
    assert any("--image" in finding.remedy for finding in findings)


HOSTILE = ["-x", "x y", 'x"\n', "$(id)", "../x", "x:latest\nkind: Pod", "{{x}}", "X", "x@sha256:12"]


def test_hostile_words_reach_no_resource(target: str, bundle: Path, cluster: FakeCluster) -> None:
    """Image, namespace and settings are held to their grammars before anything is written or run."""
    good = order_for(bundle, image="registry.example.com/x:1")
    for text in HOSTILE:
        for order in (
            replace(good, image=text),
            replace(good, settings={"pull_secret": text}),
            replace(good, reference=replace(good.reference, namespace=text)),
        ):
            with pytest.raises(ConfigError):
                foresee(target, order)
    assert not cluster.calls


@pytest.mark.parametrize("settings", [{"replicas": "-1"}, {"replicas": "99999"}, {"monitor": "maybe"}, {"port": "1"}])
@pytest.mark.usefixtures("cluster")
def test_settings_that_are_none_are_refused(settings: dict[str, str], target: str, bundle: Path) -> None:
    """By name."""
    with pytest.raises(ConfigError, match="--set"):
        foresee(target, order_for(bundle, image="registry.example.com/x:1", settings=settings))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "kind: Pod\napiVersion: v1\nmetadata: {name: tiny}\nspec: {}\n",
        "apiVersion: apps.nvidia.com/v1alpha1\nkind: NIMService\nmetadata: {name: other}\nspec: {image: {}}\n",
        "apiVersion: apps.nvidia.com/v1alpha1\nkind: NIMService\nmetadata: {name: tiny}\nspec: []\n",
        "\xff",
    ],
)
@pytest.mark.usefixtures("cluster")
def test_a_file_that_is_something_else_is_damaged(text: str, bundle: Path, tmp_path: Path) -> None:
    """Nobody's Pod is applied because it lies where the resource should."""
    copied = tmp_path / "bundle"
    shutil.copytree(bundle, copied)
    (copied / "nimservice.yaml").write_bytes(text.encode("latin-1"))
    with pytest.raises((BundleDamaged, ConfigError)):
        foresee("nim-operator", order_for(copied, image="registry.example.com/x:1"))


def paths(data: Mapping[str, Any], prefix: str = "spec") -> Iterator[tuple[str, Any]]:
    for key, value in data.items():
        path = f"{prefix}.{key}"
        yield path, value
        if isinstance(value, dict) and FIELDS.get(path, {}).get("type") == "object":
            yield from paths(value, path)


SETTINGS = [{}, {"replicas": "3"}, {"pull_secret": "registry"}, {"monitor": "off"}]
IMAGES = ["registry.example.com/a/tiny:1.0.0", "tiny", f"registry.example.com:5000/tiny@sha256:{'a' * 64}"]


@pytest.mark.parametrize("image", IMAGES)
@pytest.mark.parametrize("settings", SETTINGS)
def test_a_filled_nim_service_keeps_to_the_operators_schema(
    image: str, settings: dict[str, str], make_bundle: Callable[..., Path]
) -> None:
    """Known fields of their types, and never replicas beside scaling; a digest is joined to a reference again."""
    scaled = {"with": ["nim-operator"], "deployment": {"scaling": {"mode": "hpa", "max_replicas": 4}}}
    document = document_of(make_bundle("tiny", **scaled), nim_service.NIM_SERVICE, image, settings)
    types = {"string": str, "integer": int, "boolean": bool, "object": dict}
    spec = document["spec"]
    for path, value in paths(spec):
        kind = types.get(FIELDS[path]["type"])
        assert kind is None or type(value) is kind, path
    assert ("replicas" in spec) != ("scale" in spec)
    joined = f"{spec['image']['repository']}:{spec['image']['tag']}"
    assert joined == (image if image != "tiny" else "tiny:latest")
    assert {"name": REVISION_VARIABLE, "value": "7"} in spec["env"]


@pytest.mark.parametrize("image", IMAGES)
@pytest.mark.parametrize("settings", SETTINGS)
def test_a_filled_inference_service_is_a_valid_pod(image: str, settings: dict[str, str], bundle: Path) -> None:
    """By the strict schema of Kubernetes, less KServe's own fields."""
    document = document_of(bundle, inference_service.INFERENCE_SERVICE, image, settings)
    predictor = document["spec"]["predictor"]
    least, most = predictor.pop("minReplicas"), predictor.pop("maxReplicas")
    assert (least == most == 3) is ("replicas" in settings)
    predictor.pop("timeout")
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "spec": predictor}
    kubernetes_validate.validate(pod, "1.34", strict=True)
    assert predictor["containers"][0]["image"] == image


def document_of(bundle: Path, kind: ResourceKind, image: str, settings: dict[str, str]) -> dict[str, Any]:
    order = order_for(bundle, image=image, settings=settings)
    assert order.bundle is not None
    return filled(order.bundle, kind, order, 7)


def test_a_revision_is_filled_in_once() -> None:
    """Going from one revision to the next replaces its number."""
    resource = {"spec": {"image": {}, "env": [{"name": "A", "value": "1"}]}}
    image, settings = ImageName.parse("x:1", field="--image"), ResourceSettings()
    for revision in (1, 2):
        nim_service.fill(resource, image, settings, revision)
    assert resource["spec"]["env"] == [{"name": "A", "value": "1"}, {"name": REVISION_VARIABLE, "value": "2"}]


STATUSES: dict[str, tuple[ResourceKind, dict[str, Any], tuple[bool, str, bool]]] = {
    "nim-new": (nim_service.NIM_SERVICE, {}, (False, "", False)),
    "nim-ready": (nim_service.NIM_SERVICE, {"state": "Ready"}, (True, "", False)),
    "nim-failed": (nim_service.NIM_SERVICE, {"state": "Failed"}, (False, "Failed", False)),
    "kserve-new": (inference_service.INFERENCE_SERVICE, {}, (False, "", False)),
    "kserve-stale": (
        inference_service.INFERENCE_SERVICE,
        {"observedGeneration": 1, "conditions": [{"type": "Ready", "status": "True"}]},
        (True, "", False),
    ),
    "kserve-ready": (
        inference_service.INFERENCE_SERVICE,
        {"observedGeneration": 2, "conditions": [{"type": "Ready", "status": "True"}]},
        (True, "", True),
    ),
}


@pytest.mark.parametrize("name", STATUSES)
def test_a_status_is_read_as_the_operators_write_it(name: str) -> None:
    """Also one that is empty, or about the generation before."""
    kind, status, (ready, failed, current) = STATUSES[name]
    said = kind.verdict({"metadata": {"generation": 2}, "status": copy.deepcopy(status)})
    assert (said.ready, said.failed, said.current) == (ready, failed, current)
    assert re.search(r"\w", said.message)


def test_what_somebody_else_made_is_left_alone(target: str, bundle: Path, cluster: FakeCluster) -> None:
    """Neither replaced nor deleted, although it has the name."""
    kind = KINDS[target]
    metadata = {"name": "tiny", "generation": 1, "labels": {}}
    container = {"image": "x:good", "env": []}
    spec = {"image": {"repository": "x", "tag": "good"}, "predictor": {"containers": [container]}}
    cluster.set(store={f"{kind.resource}/tiny": {"kind": kind.kind, "metadata": metadata, "spec": spec}})
    with pytest.raises(NotDeployed, match="was not made by this target"):
        rolled(bundle, target)
    with pytest.raises(NotDeployed, match="was not made by this target"):
        DeployedService.find("tiny", target=target).stop(purge=True)
    assert cluster.objects(kind.resource)[0]["spec"] == spec
